"""Texts and tables of the page on one person or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from longimorph.verdict import trust
from longimorph.verdict.status import OK, PairStatus

Row = Mapping[str, Any]

HEAD = """\
Are two visits of one person? Aligned visits of the same person, and of different people entered as
if they were one, on public scans: five healthy people (IXI), six with a glioblastoma at two visits
27 to 415 days apart, one with multiple sclerosis at two visits 81 days apart.
[README.md](README.md#public-data) has the sources.

Every pair is aligned as a patient's visits are, at the default resolution of 2 mm, and compared as
the [verdict](../outputs.md#the-verdict) does: the rank correlation of the scans' fine structure
inside the brain, the Dice overlap of the brains, and kappa, how far the classes agree beyond
chance. All scans were segmented by one rough method, three classes of brightness in a brain mask
(k-means), so labels of one person agree less here than those of a good tool would. *Dark* is the
darkest of the three, on T1 the fluid. For the healthy there are structures too, segmented by
DLMUSE: white matter, cortex, thalamus, ventricles, other. *Refused* pairs are stopped by the limits
of the alignment before anything is compared.
"""
COLUMNS = {
    "correlation": "correlation",
    "brain_dice": "Dice of the brains",
    "kappa": "kappa, tissue",
    "dark_dice": "Dice, dark",
    "parcel_kappa": "kappa, structures",
    "ventricle_dice": "Dice, ventricles",
    "brain_change": "change of the brain",
}


def page(rows: Sequence[Row]) -> str:
    """The whole page below its heading."""
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    ranges = [_range(group, [row for row in rows if row["group"] == group]) for group in groups]
    parts = [
        HEAD,
        "## Ranges\n",
        _table(["group", "pairs", "refused", *COLUMNS.values()], ranges),
        _conclusion(rows),
        "## Every pair\n",
        _table(["first", "second", "group", *COLUMNS.values()], [_pair(row) for row in rows]),
    ]
    return "\n".join(parts)


def _range(group: str, rows: Sequence[Row]) -> list[str]:
    known = [row for row in rows if "refused" not in row]
    cells = []
    for key in COLUMNS:
        values = sorted(float(row[key]) for row in known if row.get(key) is not None)
        cells.append(f"{_number(key, values[0])} to {_number(key, values[-1])}" if values else "")
    return [group, str(len(rows)), str(len(rows) - len(known)), *cells]


def _pair(row: Row) -> list[str]:
    cells = ["" if row.get(key) is None else _number(key, float(row[key])) for key in COLUMNS]
    if "refused" in row:
        cells[0] = "refused"
    return [str(row["first"]), str(row["second"]), str(row["group"]), *cells]


def _number(key: str, value: float) -> str:
    return f"{100 * value:+.1f} %" if key == "brain_change" else f"{value:.2f}"


def _conclusion(rows: Sequence[Row]) -> str:
    def judged(group: str) -> dict[str, int]:
        found = [
            trust.judged(
                PairStatus(status=OK, likeness={key: row.get(key) for key in ("correlation", "kappa")})
            )
            for row in rows
            if row["group"] == group and "refused" not in row
        ]
        return {word: sum(one.verdict == word for one in found) for word in ("trust", "look", "do not trust")}

    lines = [
        f"The verdict takes a correlation of {trust.SAME_CORRELATION:g} and more for one person, and "
        f"less than {trust.OTHER_CORRELATION:g} for two; between, it asks for a look. By this alone:\n",
        _table(
            ["group", "trust", "look", "do not trust"],
            [
                [group, *map(str, judged(group).values())]
                for group in dict.fromkeys(str(r["group"]) for r in rows)
            ],
        ),
        CONCLUSION,
    ]
    return "\n".join(lines)


CONCLUSION = """\
- The scans separate one person from two, the labels do not: kappa and Dice of one person, segmented
  roughly or with thick slices, lie where those of two people do. So labels alone never lead to `do
  not trust`.
- The lowest of one person are glioblastomas in slices of about 6.5 mm with tumours that grew and
  ventricles that shifted; the scans of 3 mm reach 0.96.
- The figures hardly depend on the resolution: of four of these pairs, the correlation at 3 and 4 mm
  differs from that at 2 mm by 0.04 at most.
- The volume of the brain hardly tells: that of two people may differ by less than rough masks of
  one person do.
- The check is made for scans of one kind: T1 beside FLAIR is no comparison of anatomy, and the verdict
  names that as the other possibility where the classes agree well.
- Not tried, for lack of public data: another field strength, months after surgery, children.
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
