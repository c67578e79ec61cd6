"""Possible but improbable headers: reported per scan with advice, and cached between runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from study_files import edit, write_labels, write_study

from longimorph.cli import main
from longimorph.geometry.grid import Grid
from longimorph.io import headers
from longimorph.study import validate

SIDE, MM = 20, 8.0


def head(shift: int = 0) -> np.ndarray:
    """A ball of white matter of 1.1 litres in a field of view of 16 cm, ``shift`` voxels further down."""
    points = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    points[2] += shift
    return np.where(np.linalg.norm(points, axis=0) * MM < 64, 2, 0).astype(np.int16)


def affine(mm: float = MM) -> np.ndarray:
    matrix = np.diag([mm, mm, mm, 1.0])
    matrix[:3, 3] = -(SIDE - 1) / 2 * mm
    return matrix


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A study of plausible heads, voxels of 4 mm."""
    config = write_study(tmp_path)
    for kind in ("images", "labels", "states"):
        for file in (tmp_path / kind).iterdir():
            data = head() if kind == "labels" else (head() * (kind == "images")).astype(np.float32)
            write_labels(file, np.repeat(np.repeat(np.repeat(data, 2, 0), 2, 1), 2, 2), affine(MM / 2))
    return config


def remarks(config: Path, cache: Path | None = None) -> list[str]:
    return [str(remark) for remark in validate.validate(config, cache=cache).remarks]


def save(file: Path, image: nib.Nifti1Image) -> None:
    nib.save(image, file)


def small(sform: np.ndarray, qform: np.ndarray | None, units: str = "mm") -> nib.Nifti1Image:
    image = nib.Nifti1Image(head(), None)
    image.set_sform(sform, code=1)
    image.set_qform(qform, code=0 if qform is None else 1)
    image.header.set_zooms(np.linalg.norm((sform if qform is None else qform)[:3, :3], axis=0))
    image.header.set_xyzt_units(units)
    return image


def test_a_plausible_study_has_nothing_odd(config: Path) -> None:
    assert remarks(config) == []


@pytest.mark.parametrize(
    "image, words",
    [
        (
            small(affine(4), np.diag([-1.0, 1, 1, 1]) @ affine(4)),
            "mm apart and swap left and right; the sform",
        ),
        (small(affine(4), affine(4.1)), "place voxels up to 1.65 mm apart; the sform is used"),
        (small(affine(4), affine(4), "meter"), "says that lengths are in metres; they are read as mm"),
        (small(affine(0.004), affine(0.004)), "voxels of 0.004 × 0.004 × 0.004 mm are too small"),
        (small(np.diag([1.0, 1, 6.5, 1]), None), "voxels of 1 × 1 × 6.5 mm: boundaries"),
        (nib.Nifti1Image(head(), None), "gives no orientation; left and right are a guess"),
        (
            nib.Nifti1Image(head(), np.eye(4) + np.eye(4, k=1) * 0.1),
            "the axes of the volume are not at right angles",
        ),
    ],
)
def test_each_oddity_of_a_header_is_a_sentence(tmp_path: Path, image: nib.Nifti1Image, words: str) -> None:
    save(tmp_path / "a.nii.gz", image)
    stored: Any = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    found = headers.remarks(tmp_path / "a.nii.gz", Grid(stored.shape, stored.affine))
    assert len(found) == 1 and found[0].startswith("a.nii.gz: ") and words in found[0]


def test_an_ordinary_header_says_nothing(tmp_path: Path) -> None:
    rotated = affine(1)
    rotated[:3, :3] = rotated[:3, :3] @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1.0]])
    for units, code in (("mm", 1), ("unknown", 0)):
        save(tmp_path / "a.nii", small(rotated, rotated if code else None, units))
        assert headers.remarks(tmp_path / "a.nii", Grid((SIDE,) * 3, rotated)) == []


def test_volume_edge_and_image_are_looked_at(config: Path) -> None:
    folder = config.parent
    write_labels(folder / "labels" / "P1_m0.nii.gz", head(3), affine())
    write_labels(folder / "states" / "P1_m0.nii.gz", np.zeros((SIDE,) * 3, np.uint8), affine())
    write_labels(folder / "images" / "P1_m0.nii.gz", head(3).astype(np.float32), affine())
    tiny = affine(2)
    write_labels(folder / "labels" / "P1_m6.nii.gz", head(), tiny)
    write_labels(folder / "states" / "P1_m6.nii.gz", np.zeros((SIDE,) * 3, np.uint8), tiny)
    moved = affine(MM / 2)
    moved[1, 3] += 30
    images = nib.Nifti1Image.from_filename(folder / "images" / "P2_m0.nii.gz")
    write_labels(folder / "images" / "P2_m0.nii.gz", np.asarray(images.dataobj), moved)
    found = remarks(config)
    assert any(text.startswith("P1 m0: the brain reaches the edge") and "bottom (" in text for text in found)
    assert not any("top (" in text or "left (" in text for text in found)
    litres = f"{(head() > 0).sum() * 8 / 1e6:.3g} L; a plausible brain has 0.3 to 2.5 L"
    assert any(text.startswith(f"P1 m6: all classes but background add up to {litres}") for text in found), (
        found
    )
    assert (
        "P2 m0: P2_m0.nii.gz and P2_m0.nii.gz have the same number of voxels but lie up to 30.0 mm apart"
        in (" ".join(found))
    )


def test_an_image_of_another_place_is_told(config: Path) -> None:
    elsewhere = affine(MM / 2)
    elsewhere[0, 3] += 80
    write_labels(config.parent / "images" / "P1_m0.nii.gz", np.ones((20, 40, 40), np.float32), elsewhere)
    assert any(
        "of the field of view of P1_m0.nii.gz lies within that of P1_m0.nii.gz" in t for t in remarks(config)
    )


def test_what_is_odd_is_kept_with_the_labels(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = config.parent / "scans.json"
    write_labels(config.parent / "labels" / "P1_m0.nii.gz", head(3), affine())
    write_labels(config.parent / "states" / "P1_m0.nii.gz", np.zeros((SIDE,) * 3, np.uint8), affine())
    first = remarks(config, cache)
    assert len(first) >= 2
    monkeypatch.setattr(validate, "examine", None)
    assert remarks(config, cache) == first
    edit(config.parent / "classes.tsv", "background\t0\t*", "background\t0,2\t*")
    edit(config.parent / "classes.tsv", "WM\t2,41", "WM\t41")
    assert not any("edge" in text for text in remarks(config, cache)), "the classes decide what is brain"


def test_doctor_looks_at_a_study(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config.parent)
    (config.parent / "snakemake").write_text("#!/bin/sh\n")
    (config.parent / "snakemake").chmod(0o755)
    monkeypatch.setenv("PATH", str(config.parent))
    assert main(["doctor", "config.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no problems, 1 thing to look at\n")
    assert "ok      config.yaml: 4 visits, 2 pairs of 2 patients" in out
    write_labels(config.parent / "labels" / "P1_m0.nii.gz", head(3), affine())
    write_labels(config.parent / "states" / "P1_m0.nii.gz", np.zeros((SIDE,) * 3, np.uint8), affine())
    assert main(["doctor", "config.yaml"]) == 0
    assert "look at P1 m0: the brain reaches the edge" in capsys.readouterr().out
    (config.parent / "labels" / "P2_m0.nii.gz").write_bytes(b"")
    assert main(["doctor", "config.yaml"]) == 1
    assert "PROBLEM P2 m0:" in capsys.readouterr().out
    os.unlink(config.parent / "labels" / "P2_m6.nii.gz")
    assert main(["doctor", "config.yaml"]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("1 problem, ") and "file not found" in shown.err
