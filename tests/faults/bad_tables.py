"""Files that are not tables, or tables with invalid content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from faults import FINE, Fault, Place

ROW = "P001\tV2\t90\t"
TOO_LARGE = 1 << 34

Change = Callable[[str], str]


def text(table: str, change: Change, encoding: str = "utf-8") -> Callable[[Place], None]:
    """Write a table's text anew."""

    def spoil(place: Place) -> None:
        file = place.table(table)
        file.write_bytes(change(file.read_text()).encode(encoding))

    return spoil


def put(table: str, old: str, new: str) -> Callable[[Place], None]:
    """Replace some text of a table."""
    return lambda place: place.edit(place.table(table), old, new)


def instead(table: str, make: Callable[[Path], object]) -> Callable[[Place], None]:
    """Put something else in a table's place."""

    def spoil(place: Place) -> None:
        place.table(table).unlink()
        make(place.table(table))

    return spoil


def patient(name: str) -> Callable[[Place], None]:
    """Give the patient another name in both rows."""
    return text("cohort", lambda t: t.replace("P001\t", f"{name}\t"))


def days(value: str) -> Callable[[Place], None]:
    """Put a value into the days of the second visit."""
    return put("cohort", ROW, f"P001\tV2\t{value}\t")


def lines(change: Callable[[list[str]], list[str]]) -> Change:
    """Rearrange the lines."""
    return lambda t: "\n".join(change(t.splitlines())) + "\n"


def sparse(file: Path) -> None:
    """A file of 16 GB that takes no room."""
    with file.open("wb") as out:
        out.truncate(TOO_LARGE)


def round_link(file: Path) -> None:
    """A link to itself."""
    file.symlink_to(file)


def quoted(t: str) -> str:
    """What spreadsheets make of a table."""
    return "\n".join("\t".join(f'"{cell}"' for cell in line.split("\t")) for line in t.splitlines())


def narrower(t: str) -> str:
    """A matrix without the column of white matter."""
    return "\n".join("\t".join([*(row := line.split("\t"))[:2], *row[3:]]) for line in t.splitlines())


SEEN = ("cohort.tsv", "line 3")
COHORT = (
    Fault("commas", text("cohort", lambda t: t.replace("\t", ",")), ("separated by commas", "tabs")),
    Fault("semicolons", text("cohort", lambda t: t.replace("\t", ";")), ("separated by semicolons",)),
    Fault("spaces", text("cohort", lambda t: t.replace("\t", "  ")), ("separated by spaces",)),
    Fault("one row with spaces", put("cohort", ROW, "P001 V2 90 "), SEEN),
    Fault("a byte-order mark", text("cohort", lambda t: t, "utf-8-sig"), code=FINE),
    Fault("lines of Windows", text("cohort", lambda t: t.replace("\n", "\r\n")), code=FINE),
    Fault("lines of the old Macintosh", text("cohort", lambda t: t.replace("\n", "\r")), code=FINE),
    Fault("quotes", text("cohort", quoted), code=FINE),
    Fault(
        "columns of one's own", text("cohort", lines(lambda r: [f"{x}\té" for x in r[:1]] + r[1:])), code=FINE
    ),
    Fault(
        "Latin-1", text("cohort", lambda t: t.replace("P001\tV2", "Zoé\tV2"), "latin-1"), ("UTF-8", "0xe9")
    ),
    Fault("UTF-16", text("cohort", lambda t: t, "utf-16"), ("UTF-16",)),
    Fault("UTF-16 without a mark", text("cohort", lambda t: t, "utf-16-le"), ("cohort.tsv", "zero bytes")),
    Fault("a zero byte", put("cohort", "P001\tV2", "P001\0\tV2"), ("cohort.tsv", "zero bytes")),
    Fault("a workbook", instead("cohort", lambda f: f.write_bytes(b"PK\x03\x04" * 9)), ("workbook",)),
    Fault("an empty table", text("cohort", lambda t: ""), ("cohort.tsv", "is empty")),
    Fault("a header alone", text("cohort", lines(lambda r: r[:1])), ("no data rows",)),
    Fault("rows alone", text("cohort", lines(lambda r: r[1:])), ("column is missing", "patient")),
    Fault("a row twice", text("cohort", lines(lambda r: [*r, r[2]])), ("already on line 3", "line 6")),
    Fault("a column twice", put("cohort", "regions\tstates", "regions\tregions"), ("occurs twice",)),
    Fault("a column without a name", put("cohort", "\tdays", "\t\tdays"), ("has no name",)),
    Fault("a tab too many", put("cohort", ROW, f"{ROW}\t"), (*SEEN, "cells")),
    Fault(
        "a misspelt column",
        put("cohort", "regions", "region"),
        ("column is missing", "Is it the column 'region'?"),
    ),
    Fault("a space in a name", patient("P 001"), ("is not a valid name", "P 001", "line 2")),
    Fault("an umlaut in a name", patient("Müller"), ("is not a valid name", "Müller")),
    Fault("a sign that is not seen", patient("P001\u200b"), ("is not a valid name", "\\u200b")),
    Fault("a way out of the results", patient("../x"), ("is not a valid name", "../x")),
    Fault("a way to the root", patient("/etc"), ("is not a valid name", "/etc")),
    Fault("a dot", patient("."), ("is not a valid name",)),
    Fault("a command", patient("$(id)"), ("is not a valid name",)),
    Fault("markup", patient("<script>"), ("is not a valid name",)),
    Fault("a formula", patient("=1+1"), ("is not a valid name",)),
    Fault("a name of 300 letters", patient("P" * 300), ("too long", "PPP…")),
    Fault(
        "names that differ by case", put("cohort", ROW, ROW.lower()), (*SEEN, "differs only by case", "P001")
    ),
    Fault("visits that differ by case", put("cohort", ROW, ROW.replace("V2", "v1")), (*SEEN, "only by case")),
    Fault("a patient called cohort", patient("cohort"), ("is reserved by longimorph",)),
    Fault("a patient called tables", patient("tables"), ("is reserved by longimorph",)),
    Fault(
        "a way out in a visit's name",
        put("cohort", ROW, ROW.replace("V2", "../V2")),
        ("is not a valid name",),
    ),
    Fault("a visit that is called as a pair", put("cohort", ROW, ROW.replace("V2", "V1__V2")), code=FINE),
    Fault("days in words", days("later"), (*SEEN, "is not a number")),
    Fault("days of NaN", days("nan"), (*SEEN, "is not a number")),
    Fault("days without end", days("inf"), (*SEEN, "is not a number")),
    Fault("days of 1e400", days("1e400"), (*SEEN, "is not a number")),
    Fault("days with a comma", days("90,5"), (*SEEN, "decimal point")),
    Fault("a date", days("2024-03-01"), (*SEEN, "is not a number")),
    Fault("a date as a number", days("20240301"), (*SEEN, "(a date?)")),
    Fault("no days", days(""), (*SEEN, "is empty")),
    Fault("visits swapped", days("-90"), (*SEEN, "is before the day of 'V1'")),
    Fault("two visits on a day", days("0"), (*SEEN, "is also the day of 'V1'")),
    Fault("a zero byte in a path", lambda p: p.point("regions", "a\0b.nii.gz"), ("zero bytes",)),
    Fault(
        "a path of 5000 letters",
        lambda p: p.point("regions", "a" * 5000 + ".nii"),
        (*SEEN, "is not a valid path"),
    ),
    Fault("a path of another system", lambda p: p.point("regions", "..\\scans\\V2.nii"), (*SEEN, "not '\\'")),
    Fault("a variable in a path", lambda p: p.point("regions", "$HOME/V2.nii.gz"), (*SEEN, "file not found")),
    Fault("a command in a path", lambda p: p.point("regions", "`id`.nii.gz"), (*SEEN, "file not found")),
    Fault(
        "the home of nobody", lambda p: p.point("regions", "~nobody-here/x.nii"), (*SEEN, "file not found")
    ),
    Fault("a folder as a table", instead("cohort", Path.mkdir), ("is a folder",)),
    Fault("no table", instead("cohort", lambda f: None), ("file not found",)),
    Fault("a pipe as a table", instead("cohort", os.mkfifo), ("neither a file nor a folder",)),
    Fault("an endless table", instead("cohort", lambda f: f.symlink_to("/dev/zero")), ("neither a file",)),
    Fault("a table of 16 GB", instead("cohort", sparse), ("too large",)),
    Fault("a link to itself as a table", instead("cohort", round_link), ("cohort.tsv", "link")),
)

ENTRY = "WM\t0\t1\t1\t1"
CONTROL = (
    Fault("a matrix without a row", put("control", f"{ENTRY}\n", ""), ("'WM' has no row",)),
    Fault(
        "a matrix without a column",
        text("control", lambda t: t.replace("\tWM\t", "\t").replace("\t1\n", "\n")),
        ("the class has no column",),
    ),
    Fault("an entry too few", put("control", ENTRY, "WM\t0\t1\t1"), ("control.tsv", "line 3", "is empty")),
    Fault("an entry above 1", put("control", ENTRY, "WM\t0\t1.01\t1\t1"), ("outside [0, 1]", "1.01")),
    Fault("an entry below 0", put("control", ENTRY, "WM\t-1e-9\t1\t1\t1"), ("outside [0, 1]",)),
    Fault("an entry of NaN", put("control", ENTRY, "WM\tnan\t1\t1\t1"), ("line 3", "is not a number")),
    Fault("an entry with a comma", put("control", ENTRY, "WM\t0,5\t1\t1\t1"), ("decimal point",)),
    Fault(
        "a class that is none",
        put("control", ENTRY, "GM\t0\t1\t1\t1"),
        ("'GM'", "is not a class", "'WM' has no row"),
    ),
    Fault("two rows of a class", put("control", ENTRY, f"{ENTRY}\n{ENTRY}"), ("two rows", "line 4")),
    Fault("two columns of a class", put("control", "ventricles\tback", "WM\tback"), ("occurs twice", "'WM'")),
    Fault("no matrix", text("control", lambda t: "\n \n# nothing\n"), ("control.tsv", "is empty")),
    Fault(
        "bytes as a matrix", instead("control", lambda f: f.write_bytes(bytes(range(128, 256)))), ("UTF-8",)
    ),
)

WHITE = "WM\t1\t*"
CLASSES = (
    Fault("two classes of one name", put("classes", "WM\t1", "oedema\t1"), ("already on line 2",)),
    Fault("classes that differ by case", put("classes", "WM\t1", "Oedema\t1"), ("differs only by case",)),
    Fault(
        "a range that runs backwards", put("classes", WHITE, "WM\t9-1\t*"), ("9-1 runs backwards", "line 3")
    ),
    Fault("a label below 0", put("classes", WHITE, "WM\t-1\t*"), ("cannot be read", "-1")),
    Fault("a label of 40 digits", put("classes", WHITE, f"WM\t{'9' * 40}\t*"), ("cannot be read", "line 3")),
    Fault("labels in words", put("classes", WHITE, "WM\tone\t*"), ("cannot be read", "one")),
    Fault("no labels", put("classes", WHITE, "WM\t\t*"), ("is empty", "line 3")),
    Fault(
        "a class that takes nothing", put("classes", "background\t0", "background\t1"), ("can never match",)
    ),
    Fault("a colour in words", put("classes", "#f0f0f0", "white"), ("is not a colour", "white")),
    Fault("a colour that is markup", put("classes", "#f0f0f0", "#fff;}</style>"), ("is not a colour",)),
    Fault("a class that is markup", put("classes", WHITE, "<b>WM\t1\t*"), ("is not a valid name", "<b>WM")),
    Fault("a class called from", put("classes", WHITE, "from\t1\t*"), ("cannot be the name of a class",)),
    Fault("a class without a name", put("classes", WHITE, "\t1\t*"), ("is empty", "line 3")),
    Fault("a missing column", put("classes", "\tstates", "\tstate2"), ("column is missing", "states")),
    Fault("a pipe as classes", instead("classes", os.mkfifo), ("neither a file nor a folder",)),
)

FAULTS = (*COHORT, *CONTROL, *CLASSES)
