"""The picture of a pair is made for every outcome, and shows the patient in the right orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from nibabel.orientations import apply_orientation as reorient
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from longimorph.geometry.grid import Grid
from longimorph.io import atomic, volumes
from longimorph.report import figures
from longimorph.report.pair_maps import PairMaps, load_maps
from longimorph.report.slices import cut
from longimorph.study import classes as class_tables
from longimorph.study.classes import ClassTable
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus

NAMES = ("oedema", "WM", "background")
STATUS = {
    "status": "ok",
    "drift": 0.004,
    "dice_before": {"oedema": 0.0, "WM": 0.9},
    "dice_after": {"oedema": 0.9, "WM": 0.95},
    "stop_reason": "the cost fell by less than 0.1 %",
    "seconds": 3.2,
    "device": "cpu",
}
RAS = np.array([[4.0, 0, 0, -20], [0, 4.0, 0, -24], [0, 0, 5.0, -15], [0, 0, 0, 1]])


@pytest.fixture
def classes(tmp_path: Path) -> ClassTable:
    rows = ["class\tregions\tstates\tcolor", "oedema\t*\t1\t#D55E00", "WM\t2\t*\t#F0F0F0"]
    rows.append("background\t*\t*\t#000000")
    (tmp_path / "classes.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return class_tables.load_classes(tmp_path / "classes.tsv")


def maps(lesion: bool) -> np.ndarray:
    """A head of white matter, (3, 10, 12, 8); the lesion lies on the patient's right, in front, above."""
    result = np.zeros((3, 10, 12, 8), dtype=np.float32)
    result[1, 1:9, 1:11, 1:7] = 1
    if lesion:
        result[1, 6:8, 7:10, 4:6], result[0, 6:8, 7:10, 4:6] = 0, 1
    result[2] = 1 - result[:2].sum(axis=0)
    return result


def write_pair(root: Path, codes: str = "RAS", change: bool = True) -> Path:
    """The files of a pair whose visits are V1 and V2, stored along the axes ``codes``; returns its folder."""
    turn = ornt_transform(io_orientation(RAS), axcodes2ornt(tuple(codes)))
    before, after = maps(False), maps(change)
    shape = reorient(before[0], turn).shape
    grid = Grid(shape, RAS @ inv_ornt_aff(turn, before.shape[1:]))

    def write(path: Path, data: np.ndarray) -> None:
        volumes.write_maps(path, np.stack([reorient(m, turn) for m in data]).astype(np.float32), grid)

    folder = root / "P1" / "V1__V2"
    write(root / "P1" / "V1" / "simplex.nii.gz", before)
    write(root / "P1" / "V2" / "simplex.nii.gz", after)
    write(folder / "final_simplex.nii.gz", after)
    write(folder / "deformation.nii.gz", np.zeros_like(before))
    write(folder / "reallocation.nii.gz", after - before)
    volumes.write_scalar(folder / "log_jacobian.nii.gz", np.zeros(shape, dtype=np.float32), grid)
    size = 960.0 if change else 0.0
    rows = [dict.fromkeys(columns.PAIR_CHANGES, 0.0) | {"class": n, "status": "ok"} for n in NAMES]
    rows[0]["reallocation_mm3"], rows[1]["reallocation_mm3"] = size, -size
    for row in rows:
        row.update({"patient": "P1", "from": "V1", "to": "V2"})
    atomic.write_csv(folder / "changes.csv", columns.as_text(pd.DataFrame(rows)))
    names = ["patient", "from", "to", "from_class", "to_class", *columns.FLOWS]
    flow = pd.DataFrame([["P1", "V1", "V2", "WM", "oedema", 0.0, size]], columns=names)
    atomic.write_csv(folder / "transitions.csv", columns.as_text(flow))
    atomic.write_json(folder / "status.json", STATUS)
    return folder


def load(folder: Path, classes: ClassTable) -> PairMaps:
    return load_maps(folder, folder.parent / "V1", folder.parent / "V2", classes)


def draw(folder: Path, classes: ClassTable) -> Path:
    out = folder / "overview.png"
    figures.pair_figure(folder, folder.parent / "V1", folder.parent / "V2", classes, out)
    return out


def test_a_pair_gets_a_large_picture(tmp_path: Path, classes: ClassTable) -> None:
    picture = imread(draw(write_pair(tmp_path), classes))
    assert picture.shape[0] > 1000
    assert picture.shape[1] > 1500
    assert picture.std() > 0.1


def test_a_pair_without_any_change_gets_a_picture_too(tmp_path: Path, classes: ClassTable) -> None:
    assert draw(write_pair(tmp_path, change=False), classes).stat().st_size > 10_000


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL"])
def test_the_picture_does_not_depend_on_the_axes_of_storage(
    codes: str, tmp_path: Path, classes: ClassTable
) -> None:
    one = draw(write_pair(tmp_path / "one"), classes)
    other = draw(write_pair(tmp_path / "other", codes), classes)
    assert one.read_bytes() == other.read_bytes()


def test_the_patients_right_is_on_the_left_and_up_is_up(tmp_path: Path, classes: ClassTable) -> None:
    folder = write_pair(tmp_path, "LPI")
    loaded = load(folder, classes)
    assert loaded.focus[2] in (4, 5)
    assert loaded.focus[1] in (7, 8, 9)
    axial = cut(loaded.changed, 2, loaded.focus[2])
    rows, across = np.nonzero(axial)
    assert axial.max() == pytest.approx(100)
    assert across.mean() < (axial.shape[1] - 1) / 2
    assert rows.mean() > (axial.shape[0] - 1) / 2
    coronal = cut(loaded.changed, 1, loaded.focus[1])
    assert np.nonzero(coronal)[1].mean() < (coronal.shape[1] - 1) / 2
    assert np.nonzero(coronal)[0].mean() > (coronal.shape[0] - 1) / 2


def test_without_any_change_the_slices_go_through_the_middle_of_the_tissue(
    tmp_path: Path, classes: ClassTable
) -> None:
    folder = write_pair(tmp_path, change=False)
    loaded = load(folder, classes)
    assert loaded.focus[1:] == (5, 3)


@pytest.mark.parametrize("codes", ["RAS", "LPI"])
def test_what_was_not_compared_is_veiled(codes: str, tmp_path: Path, classes: ClassTable) -> None:
    folder = write_pair(tmp_path, codes)
    _, grid = volumes.read_maps(folder / "final_simplex.nii.gz")
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    seen = (grid.index_to_world(index)[..., 2] > 0).astype(np.float32)
    before = imread(draw(folder, classes))
    volumes.write_scalar(folder / "compared.nii.gz", seen, grid)
    loaded = load(folder, classes)
    assert loaded.unseen is not None
    assert loaded.unseen[..., :4].all() and not loaded.unseen[..., 4:].any()
    changed = np.abs(imread(draw(folder, classes)) - before).max(axis=-1) > 0.1
    axial, coronal = changed[125:420, 90:], changed[432:724, 90:]
    assert not axial.any()
    half = len(coronal) // 2
    assert coronal[half + 10 :].mean() > 0.4 and not coronal[: half - 10].any()


def test_a_failed_pair_gets_a_picture_that_needs_no_maps(tmp_path: Path, classes: ClassTable) -> None:
    folder = tmp_path / "P1" / "V1__V2"
    message = "Visit V2 overlaps the reference by 12 %. " * 20
    atomic.write_json(folder / "status.json", {"status": "overlap", "message": message})
    out = folder / "overview.png"
    figures.pair_figure(folder, tmp_path / "none", tmp_path / "none", classes, out)
    assert imread(out).std() > 0.02


def test_the_words_of_health_leave_out_what_is_not_known() -> None:
    shown = pd.DataFrame(index=["oedema", "WM"])
    words = "\n".join(figures.health(PairStatus.of(STATUS), shown))
    assert "oedema 0.00 to 0.90; WM 0.90 to 0.95" in words
    assert "Energy along the path, which should stay constant: 0.40 % off" in words
    assert "Stopped: the cost fell by less than 0.1 %" in words
    assert figures.health(PairStatus(status="ok"), shown) == []
