"""File names: any name is read or skipped, and the table's reader finds again what was written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from longimorph.bids.choose import pattern, told
from longimorph.bids.index import ALONE, IndexOptions, index
from longimorph.bids.names import parse
from longimorph.bids.tree import RAW, Volume
from longimorph.errors import InputError
from longimorph.study import table

FEW = settings(max_examples=40, deadline=None)
WORDS = st.text("abcXYZ019", min_size=1, max_size=4)
ENTITIES = st.dictionaries(st.sampled_from(["acq", "run", "desc", "space", "ce"]), WORDS, max_size=3)
PARTS = st.tuples(
    WORDS, ENTITIES, st.sampled_from(["dseg", "T1w", "mask"]), st.sampled_from([".nii", ".nii.gz"])
)
FOLDERS = st.text(
    st.characters(exclude_characters="/{}\x00", exclude_categories=["Cs"]), min_size=1, max_size=6
)


def name_of(subject: str, entities: dict[str, str], suffix: str, extension: str) -> str:
    """The file name with these parts."""
    return "_".join([f"sub-{subject}", *(f"{k}-{v}" for k, v in entities.items()), suffix]) + extension


@FEW
@given(PARTS)
def test_a_name_comes_apart_into_its_parts(parts: tuple[str, dict[str, str], str, str]) -> None:
    subject, entities, suffix, extension = parts
    found = parse(name_of(*parts))
    assert found is not None
    assert (found.values, found.suffix, found.extension) == ({"sub": subject, **entities}, suffix, extension)
    assert found.own == tuple(entities.items())


@FEW
@given(st.text(max_size=20) | st.text(max_size=20).map(lambda text: f"sub-{text}.nii.gz"))
def test_any_text_is_a_name_or_none(text: str) -> None:
    found = parse(text)
    assert found is None or found.values["sub"]
    made = pattern(text)
    assert made is None or made.text == text


@FEW
@given(st.lists(PARTS, min_size=2, max_size=5, unique_by=lambda parts: name_of("1", *parts[1:])))
def test_what_is_offered_means_one_file_and_no_other(
    parts: list[tuple[str, dict[str, str], str, str]],
) -> None:
    volumes = []
    for number, (_, entities, suffix, extension) in enumerate(parts):
        name = parse(name_of("1", entities, suffix, extension))
        assert name is not None
        pipeline = RAW if number % 2 else "pipe"
        volumes.append(Volume(Path(str(number)), name, pipeline, "sub-1", None))
    assume(len({(v.pipeline, frozenset(v.name.own), v.name.suffix, v.name.extension) for v in volumes}) > 1)
    assume("none" not in {value for v in volumes for _, value in v.name.own})
    for volume in volumes:
        one = pattern(told(volume.key, [v.key for v in volumes]))
        assert one is not None
        same = frozenset(volume.name.own)
        for other in volumes:
            twin = (other.pipeline, frozenset(other.name.own)) == (volume.pipeline, same)
            twin = twin and (other.name.suffix, other.name.extension) == (
                volume.name.suffix,
                volume.name.extension,
            )
            asked = "space" in dict(one.entities) or "space" not in other.name.values
            assert one.matches(other) == (twin and asked) or not asked


@FEW
@example(folder="~", subject="9", inside=True)
@given(folder=FOLDERS, subject=st.text("aB9 .é+-", min_size=1, max_size=5), inside=st.booleans())
def test_the_table_leads_back_to_the_files(folder: str, subject: str, inside: bool) -> None:
    assume(folder not in (".", ".."))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, folder)
        file = root / f"sub-{subject}" / "anat" / f"sub-{subject}_dseg.nii.gz"
        try:
            file.parent.mkdir(parents=True)
            file.touch()
        except OSError:
            assume(False)
        out = Path(scratch) if inside else Path(scratch, "other")
        out.mkdir(exist_ok=True)
        try:
            text = index(root, IndexOptions()).text(out)
        except InputError as error:
            assert any(c in folder for c in "\t\r\n"), error
            return
        (out / "cohort.tsv").write_text(text, encoding="utf-8", newline="\n")
        (visit,) = table.load_cohort(out / "cohort.tsv").visits
        assert visit.regions.samefile(file) and visit.timepoint == ALONE
