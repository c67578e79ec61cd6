"""Valid files with bytes changed, lost and added give a value or an expected error, without delay."""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, CONTROL

from longimorph.errors import InputError, Unusable
from longimorph.io.volumes import MAX_VOXELS, read_grid, read_image, read_labels
from longimorph.study import classes, config, control, schema, table

SOME = settings(max_examples=80, deadline=None)
AT_ONCE_S = 10
COHORT = "patient\ttimepoint\tdays\tregions\tstates\nP1\tV1\t0\ta.nii\t\nP1\tV2\t90.5\tb.nii.gz\tc.nii\n"
TABLES = "cohort: cohort.tsv\nclasses: classes.tsv\ncontrol: preset:lesion\n"
CONFIG = f"{TABLES}kernel_mm: [4, 8]\nalign:\n  seed: 3\n"
NOISE = st.sampled_from(
    [b"\t", b"\n", b"\r", b"\0", b'"', b"#", b",", b": ", b"- ", b"&a ", b"*a ", b"!!python/name:os.system ",
     b"\xef\xbb\xbf", b"\xff", "é".encode(), "\u2028".encode(), b"../", b"nan", b"9" * 50, b"[", b"1e999"]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    """The good bytes after a few changes: a piece put in, taken out, doubled, or one byte overwritten."""
    content = good
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        kind = draw(st.integers(0, 3))
        taken = content[at:end] if kind == 1 else b""
        piece = draw(NOISE | st.binary(max_size=4)) if kind in (0, 3) else taken
        content = content[:at] + piece + content[end if kind in (2, 3) else at :]
    return content


def finishes(read: Callable[[Path], object], name: str, content: bytes) -> object | None:
    """Read the content as a file, in time: what was read, or None after an expected complaint."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        began = time.monotonic()
        try:
            return read(file)
        except InputError as error:
            assert error.problems and all(str(problem) for problem in error.problems)
        except Unusable as failure:
            assert failure.code and len(failure.message) > 20
        finally:
            assert time.monotonic() - began < AT_ONCE_S
    return None


def class_table() -> classes.ClassTable:
    """The classes of the tiny cohort."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "classes.tsv"
        file.write_text(CLASSES)
        return classes.load_classes(file)


KNOWN = class_table()


@SOME
@given(content=mutated(COHORT.encode()))
def test_a_changed_cohort_table_is_read_or_refused(content: bytes) -> None:
    cohort = finishes(lambda file: table.load_cohort(file, check_files=False), "cohort.tsv", content)
    if isinstance(cohort, table.Cohort):
        assert all(np.isfinite(visit.days) for visit in cohort.visits)
        names = [name for visit in cohort.visits for name in (visit.patient, visit.timepoint)]
        assert all(name and "/" not in name and "." not in name for name in names)


@SOME
@given(content=mutated(CLASSES.encode()))
def test_a_changed_class_table_is_read_or_refused(content: bytes) -> None:
    found = finishes(classes.load_classes, "classes.tsv", content)
    assert found is None or (
        isinstance(found, classes.ClassTable) and len(set(found.names)) == len(found.rows)
    )


@SOME
@given(content=mutated(CONTROL.encode()))
def test_a_changed_matrix_is_read_or_refused(content: bytes) -> None:
    matrix = finishes(lambda file: control.load_control(file, KNOWN), "control.tsv", content)
    if isinstance(matrix, np.ndarray):
        numbers = matrix[~np.isnan(matrix)]
        assert matrix.shape == (4, 4) and ((numbers >= 0) & (numbers <= 1)).all()
        for pairs in control.free_pairs(matrix, KNOWN):
            assert pairs.lesions and pairs.hosts and not set(pairs.lesions) & set(pairs.hosts)


@SOME
@given(content=mutated(CONFIG.encode()))
def test_a_changed_configuration_is_read_or_refused(content: bytes) -> None:
    found = finishes(config.load_config, "config.yaml", content)
    assert found is None or isinstance(found, config.Config)


@SOME
@given(rho=st.lists(st.floats(0, 1), min_size=16, max_size=16), order=st.permutations(range(4)))
def test_a_matrix_comes_back_from_its_file_in_any_order(rho: list[float], order: list[int]) -> None:
    matrix = np.array(rho).reshape(4, 4)
    names = [KNOWN.names[i] for i in order]
    rows = ["\t".join([KNOWN.names[i], *(repr(float(matrix[i, j])) for j in order)]) for i in order]
    text = "\n".join(["\t".join(["from", *names]), *rows])
    read = finishes(lambda file: control.load_control(file, KNOWN), "control.tsv", text.encode())
    assert isinstance(read, np.ndarray) and (read == matrix).all()


@SOME
@given(days=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6, unique=True))
def test_visits_come_back_from_their_table(days: list[float]) -> None:
    ordered = sorted(days)
    rows = [f"P1\tV{i}\t{day!r}\tscan {i}.nii.gz" for i, day in enumerate(ordered)]
    text = "\n".join(["patient\ttimepoint\tdays\tregions", *rows])
    cohort = finishes(lambda file: table.load_cohort(file, check_files=False), "cohort.tsv", text.encode())
    assert isinstance(cohort, table.Cohort)
    assert [visit.days for visit in cohort.visits] == ordered
    assert [visit.regions.name for visit in cohort.visits] == [
        f"scan {i}.nii.gz" for i in range(len(ordered))
    ]


NUMBERS = {
    key: rule
    for key, rule, _ in schema.keys(schema.load_schema())
    if rule.get("type") == "number" and "." not in key
}


@SOME
@given(data=st.data(), key=st.sampled_from(sorted(NUMBERS)))
def test_a_number_in_its_range_comes_back_from_the_configuration(data: st.DataObject, key: str) -> None:
    rule = NUMBERS[key]
    low = rule.get("minimum", rule.get("exclusiveMinimum"))
    high = rule.get("maximum", rule.get("exclusiveMaximum", 1e6))
    value = data.draw(st.floats(low, high, exclude_min=True, exclude_max=True))
    text = CONFIG + yaml.safe_dump({key: value})
    found = finishes(config.load_config, "config.yaml", text.encode())
    assert isinstance(found, config.Config) and getattr(found, key) == value


def scan() -> bytes:
    """A small NIfTI file, not compressed."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2, 2, 1]))
    image.set_qform(image.affine, code=1)
    return bytes(image.to_bytes())


SCAN = scan()


@pytest.mark.parametrize("read", [read_labels, read_image, read_grid])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
@SOME
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SCAN) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    end=st.sampled_from([len(SCAN)] * 5 + [0, 100, 348, 352, 400]),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_changed_scan_is_read_or_refused(
    read: Callable[[Path], object], packed: bool, changes: list[tuple[int, int]], end: int
) -> None:
    content = bytearray(SCAN)
    for at, value in changes:
        content[at] = value
    whole = bytes(content[:end])
    name = "scan.nii.gz" if packed else "scan.nii"
    found = finishes(read, name, gzip.compress(whole, 1) if packed else whole)
    if isinstance(found, tuple):
        values, grid = found
        assert values.shape == grid.shape and np.isfinite(values).all() and values.size < MAX_VOXELS
        assert np.isfinite(grid.affine).all() and abs(np.linalg.det(grid.affine)) > 0
