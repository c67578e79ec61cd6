"""Soft segmentations: what is read, how channels become classes, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.openers import ImageOpener
from spaces import oblique
from study_files import write_study

from longimorph.errors import InputError, Unusable
from longimorph.geometry.grid import Grid
from longimorph.io import posteriors as on_disk
from longimorph.io.patterns import is_pattern, matched
from longimorph.io.volumes import read_image
from longimorph.maps import simplex
from longimorph.orchestration import parameters
from longimorph.orchestration.resources import Needs
from longimorph.stages import visits as stages
from longimorph.stages.maps import maps
from longimorph.study import classes as class_tables
from longimorph.study import scans
from longimorph.study import study as studies
from longimorph.study.classes import ClassTable
from longimorph.study.table import Visit, load_cohort
from longimorph.study.validate import validate

GRID = oblique(shape=(9, 8, 7), spacing=(1.5, 2.0, 2.5))
TABLE = """class\tregions\tstates
core\t2\t2
lesion\t*\t1,2
WM\t3\t0
GM\t2\t0
CSF\t1\t0
background\t0\t0
"""
SOFT, HARD = "soft", "hard"


def table(folder: Path, text: str = TABLE) -> ClassTable:
    """The class table as a study has it."""
    (folder / "classes.tsv").write_text(text)
    return class_tables.load_classes(folder / "classes.tsv")


def posteriors(channels: int, seed: int, grid: Grid = GRID) -> np.ndarray:
    """Random posteriors (i, j, k, C): most voxels are nearly certain, some mixed."""
    return np.random.default_rng(seed).dirichlet([0.3] * channels, grid.shape).astype(np.float32)


def save(data: np.ndarray, file: Path, grid: Grid = GRID) -> Path:
    """Write a volume as NIfTI or MGH."""
    kind = nib.MGHImage if file.suffix in (".mgz", ".mgh") else nib.Nifti1Image
    nib.save(kind(data, grid.affine), file)
    return file


def visit(regions: Path, states: Path | None = None) -> Visit:
    return Visit("P", "V", 0.0, None, regions, states)


def told(regions: Path, known: ClassTable, states: Path | None = None) -> str:
    """Why a visit cannot be used, in one sentence, by check and job alike."""
    report = scans.examine(visit(regions, states), known)
    assert report.counts is None and report.defects
    text = " ".join(f"{defect.code} {defect.message}" for defect in report.defects)
    with pytest.raises(Unusable) as caught:
        stages.read_classes(visit(regions, states), known)
    assert caught.value.code == report.defects[0].code
    return text


@pytest.mark.parametrize("kinds", [k for k in product((SOFT, HARD), (SOFT, HARD, None)) if SOFT in k])
@pytest.mark.parametrize("seed", range(3))
def test_classes_are_the_product_of_regions_and_states(tmp_path: Path, kinds: tuple, seed: int) -> None:
    """The sum over every region and state, by the table's own rule for labels."""
    known, shares = table(tmp_path), []
    for kind, channels, name in zip(kinds, (4, 3), ("regions", "states"), strict=True):
        soft = posteriors(channels, 10 * seed + channels)
        if kind == HARD:
            labels = soft.argmax(axis=-1).astype(np.int16)
            soft = np.eye(channels, dtype=np.float32)[labels]
            save(labels, tmp_path / f"{name}.nii.gz")
        elif kind == SOFT:
            save(soft, tmp_path / f"{name}.nii.gz")
        shares.append(soft if kind else np.eye(3, dtype=np.float32)[np.zeros(GRID.shape, int)])
    states = tmp_path / "states.nii.gz" if kinds[1] else None
    found = stages.read_classes(visit(tmp_path / "regions.nii.gz", states), known)
    expected = np.zeros((6, *GRID.shape))
    for region, state in product(range(4), range(3)):
        index = int(known.classify(np.array([region]), np.array([state]))[0])
        expected[index] += shares[0][..., region] * shares[1][..., state]
    assert found.shares is not None
    np.testing.assert_allclose(found.shares, expected, atol=1e-6)
    np.testing.assert_allclose(found.shares.sum(axis=0), 1, atol=1e-6)
    assert (found.index == found.shares.argmax(axis=0)).all()


def test_certain_posteriors_are_labels(tmp_path: Path) -> None:
    """Maps of posteriors that are 0 and 1 are those of the labels, whatever the pose and the spacing."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, GRID.shape)
    shares = np.moveaxis(np.eye(4, dtype=np.float32)[labels], -1, 0)
    target = oblique(shape=(6, 7, 5), spacing=(3.0, 2.0, 3.5))
    for background, width in product((None, 0, 2), (0.0, 1.5)):
        matrix = np.eye(4)
        matrix[:3, 3] = rng.normal(size=3)
        hard = simplex.simplex_maps(labels, GRID, matrix, target, 4, background, width, 1e-6)
        soft = simplex.simplex_of_shares(shares, GRID, matrix, target, background, width, 1e-6)
        np.testing.assert_allclose(soft, hard, atol=2e-6)


def brain(seed: int) -> tuple[np.ndarray, Grid]:
    """Smooth posteriors (i, j, k, 4) of three classes in a ball, with background around it."""
    grid = Grid((40, 42, 44), np.diag([1.0, 1.0, 1.0, 1.0]))
    rng = np.random.default_rng(seed)
    points = np.moveaxis(np.indices(grid.shape), 0, -1) - np.array(grid.shape) / 2
    radius = np.linalg.norm(points + rng.normal(size=3), axis=-1)
    edges = 1 / (1 + np.exp((radius[..., None] - np.array([14.0, 10.0, 5.0])) / rng.uniform(0.4, 1.2)))
    parts = [1 - edges[..., 0], edges[..., 0] - edges[..., 1], edges[..., 1] - edges[..., 2], edges[..., 2]]
    return np.stack(parts, axis=-1).astype(np.float32), grid


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kinds", (("soft", "hard"), ("soft", "soft")))
def test_volumes_are_kept_within_a_percent(tmp_path: Path, seed: int, kinds: tuple[str, str]) -> None:
    """From the posteriors on their own grid to the maps of the stage, turned and at 2 mm."""
    table(tmp_path)
    soft, grid = brain(seed)
    points = np.moveaxis(np.indices(grid.shape), 0, -1) - np.array([17.0, 22, 24])
    lesion = 1 / (1 + np.exp(np.linalg.norm(points, axis=-1) - 4.0)).astype(np.float32)
    save(soft, tmp_path / "regions.nii.gz", grid)
    if kinds[1] == SOFT:
        save(lesion, tmp_path / "x_label-lesion_probseg.nii.gz", grid)
        states = tmp_path / "x_label-*_probseg.nii.gz"
    else:
        states = save((lesion > 0.5).astype(np.uint8), tmp_path / "states.nii.gz", grid)
        lesion = (lesion > 0.5).astype(np.float32)
    turn = nib.eulerangles.euler2mat(*np.random.default_rng(seed).uniform(-0.3, 0.3, 3))
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = grid.centre() - turn @ np.zeros(3)
    target = Grid((34, 34, 34), np.array([[2.0, 0, 0, -33], [0, 2, 0, -33], [0, 0, 2, -33], [0, 0, 0, 1]]))
    own = {"status": "ok", "matrix": matrix.tolist(), "quality": {}}
    (tmp_path / "alignment.json").write_text(json.dumps({"grid": target.to_dict(), "visits": {"V": own}}))
    record = {"patient": "P", "timepoint": "V", "image": None, "regions": str(tmp_path / "regions.nii.gz")}
    settings = {"smoothing_mm": 1.0, "floor": 1e-9}
    maps(record | {"states": str(states)}, str(tmp_path / "classes.tsv"), tmp_path / "alignment.json",
         tmp_path / "V", settings)  # fmt: skip
    qc = json.loads((tmp_path / "V" / "qc.json").read_text())
    assert qc["status"] == "ok"
    healthy = {"WM": 3, "GM": 2, "CSF": 1}
    expected = {name: float((soft[..., c] * (1 - lesion)).sum()) for name, c in healthy.items()}
    expected["lesion"] = float(lesion.sum())
    for name, volume in expected.items():
        assert qc["volumes_native_mm3"][name] == pytest.approx(volume, rel=1e-4)
        assert qc["volumes_mm3"][name] == pytest.approx(volume, rel=0.01)


def test_every_storage_gives_the_same(tmp_path: Path) -> None:
    """4-D or a file per class, NIfTI or MGH, plain or compressed, integers scaled by the header or floats."""
    soft, known = posteriors(4, 5), table(tmp_path)
    forms = [save(soft, tmp_path / f"all{suffix}") for suffix in (".nii", ".nii.gz", ".mgz", ".mgh")]
    fifth = nib.Nifti1Image(soft[:, :, :, None], GRID.affine)
    nib.save(fifth, tmp_path / "five.nii.gz")
    scaled = nib.Nifti1Image(soft, GRID.affine)
    scaled.header.set_data_dtype(np.uint16)
    nib.save(scaled, tmp_path / "scaled.nii.gz")
    for label, name in enumerate(("background", "CSF", "GM", "WM")):
        save(soft[..., label], tmp_path / f"s_label-{name}_probseg.nii.gz")
        save(soft[..., label], tmp_path / f"number_{label}.mgz")
    save(soft[::-1, :, :, 3], tmp_path / "s_label-WM_probseg.nii.gz", mirrored(GRID))
    forms += [tmp_path / name for name in ("five.nii.gz", "s_label-*_probseg.nii.gz", "number_*.mgz")]
    first = stages.read_classes(visit(forms[0]), known)
    for form in forms[1:]:
        found = stages.read_classes(visit(form), known)
        assert (found.shares == first.shares).all(), form
    found = stages.read_classes(visit(tmp_path / "scaled.nii.gz"), known)
    np.testing.assert_allclose(found.shares, first.shares, atol=1e-4)


def mirrored(grid: Grid) -> Grid:
    """The same voxels, the first axis stored in the other direction."""
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (grid.shape[0] - 1)
    affine[:3, 0] *= -1
    return Grid(grid.shape, affine)


def test_what_is_left_out_is_background_or_healthy(tmp_path: Path) -> None:
    soft, known = posteriors(4, 6), table(tmp_path)
    for label, name in ((1, "csf"), (2, "GM"), (3, "WM")):
        save(soft[..., label], tmp_path / f"s_label-{name}_probseg.nii.gz")
    found = stages.read_classes(visit(tmp_path / "s_label-*_probseg.nii.gz"), known)
    assert found.shares is not None
    np.testing.assert_allclose(found.shares[-1], soft[..., 0], atol=1e-6)


def test_a_voxel_without_any_probability_is_outside(tmp_path: Path) -> None:
    """SAMSEG writes 0 in every channel beyond its mask; anything between 0 and 1 stays an error."""
    soft, known = posteriors(4, 16), table(tmp_path)
    soft[:3] = 0
    found = stages.read_classes(visit(save(soft, tmp_path / "p.nii.gz")), known)
    assert found.shares is not None
    assert (found.shares[-1, :3] == 1).all() and (found.shares[:-1, :3] == 0).all()
    np.testing.assert_allclose(found.shares[2:, 3:], np.moveaxis(soft[3:, ..., ::-1], -1, 0), atol=1e-6)
    soft[0, 0, 0, 1] = 0.5
    assert "add up to 0.5 instead of 1 in 1 voxel" in told(save(soft, tmp_path / "p.nii.gz"), known)


def test_the_channels_of_the_ready_tables(tmp_path: Path) -> None:
    """SynthSeg writes its labels in ascending order; FAST counts from 0, SAMSEG writes names."""
    examples = Path(__file__).parents[2] / "config" / "examples"
    known = class_tables.load_classes(examples / "synthseg_classes.tsv")
    given = {int(n): label for row in known.rows for n, label in row.labels_of_channels()}
    assert sorted(given) == list(range(33))
    assert [given[n] for n in range(33)] == sorted(given.values())
    soft = posteriors(33, 7)
    found = stages.read_classes(visit(save(soft, tmp_path / "post.nii.gz")), known)
    assert found.shares is not None
    for name, labels in (("WM", {2, 7, 41, 46}), ("CSF", {24}), ("background", {0})):
        expected = sum(soft[..., n] for n in range(33) if given[n] in labels)
        np.testing.assert_allclose(found.shares[known.names.index(name)], expected, atol=1e-5)
    fast = class_tables.load_classes(examples / "fast_classes.tsv")
    for n in range(3):
        save(soft[..., n], tmp_path / f"t1_pve_{n}.nii.gz")
    found = stages.read_classes(visit(tmp_path / "t1_pve_*.nii.gz"), fast)
    assert found.shares is not None
    for n, name in enumerate(("CSF", "GM", "WM")):
        np.testing.assert_allclose(found.shares[fast.names.index(name)], soft[..., n], atol=1e-5)


BAD = {
    "percent": (lambda p: p * 100, ("not_probabilities", "percent", "Divide them by 100")),
    "bytes": (lambda p: np.rint(p * 255).astype(np.uint8), ("not_probabilities", "0 to 255", "by 255")),
    "labels": (lambda p: (p * 60).astype(np.int16), ("not_probabilities", "whole numbers", "label volume")),
    "logits": (lambda p: np.log(p + 1e-3), ("negative", "channel 0", "channel 3", "softmax")),
    "sums": (
        lambda p: p * np.float32(0.8),
        ("not_probabilities", "add up to 0.8 instead of 1", "504 voxels"),
    ),
    "one channel less": (lambda p: p[..., :3], ("channels", "3 channels", "names 3 too", "'channels'")),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_no_posterior_is_refused(tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    file = save(change(posteriors(4, 8)), tmp_path / "regions.nii.gz")
    said = told(file, table(tmp_path))
    assert all(word in said for word in (*words, "regions.nii.gz")), said


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    soft, known = posteriors(4, 9), table(tmp_path)
    soft[1, 1, 1, 1] = np.nan
    soft[2, 2, :2, 2] = -0.4
    lesion = posteriors(2, 9)[..., 1] * 300
    save(lesion, tmp_path / "les_1.nii.gz")
    said = told(save(soft, tmp_path / "regions.nii.gz"), known, tmp_path / "les_*.nii.gz")
    for word in (
        "channel 1: 1 voxel without",
        "channel 2: 2 voxels below 0",
        "add up to",
        "les_*",
        "up to 300",
    ):
        assert word in said, said


def test_files_of_classes_must_fit_together(tmp_path: Path) -> None:
    known, soft = table(tmp_path), posteriors(4, 10)
    for n in range(4):
        save(soft[..., n], tmp_path / f"p_{n}.nii.gz")
    moved = Grid(GRID.shape, np.eye(4) @ GRID.affine + np.array([[0, 0, 0, 3.0]] * 3 + [[0] * 4]))
    save(soft[..., 2], tmp_path / "p_2.nii.gz", moved)
    save(soft[..., 3:], tmp_path / "p_3.nii.gz")
    said = told(tmp_path / "p_*.nii.gz", known)
    assert "grid_mismatch" in said and "p_2.nii.gz (9×8×7 voxels" in said and "p_1" not in said
    save(soft, tmp_path / "p_3.nii.gz")
    said = told(tmp_path / "p_*.nii.gz", known)
    assert "p_3.nii.gz has several volumes" in said and "p_2.nii.gz" in said


def test_names_without_a_label_are_told(tmp_path: Path) -> None:
    known, soft = table(tmp_path), posteriors(2, 11)
    for n, name in enumerate(("brain", "skull")):
        save(soft[..., n], tmp_path / f"p_{name}.nii.gz")
    said = told(tmp_path / "p_*.nii.gz", known)
    assert "channels brain, skull" in said and "Name a class or a label" in said
    known = table(
        tmp_path, TABLE.replace("states\n", "states\tchannels\n").replace("3\t0\n", "3\t0\tBrain\n")
    )
    said = told(tmp_path / "p_*.nii.gz", known)
    assert "channel skull" in said and "brain" not in said.replace("p_brain", "")


FAST = """class\tregions\tstates\tchannels
lesion\t*\t1\t
WM\t3\t0\t2
GM\t2\t0\t1
CSF\t1\t0\t0
background\t0\t0\t
"""


def test_a_file_that_the_table_names_must_be_there(tmp_path: Path) -> None:
    known, data = table(tmp_path, FAST), posteriors(3, 0)
    for channel in (0, 2):
        save(0.5 * data[..., channel], tmp_path / f"a_pve_{channel}.nii.gz")
    text = told(tmp_path / "a_pve_*.nii.gz", known)
    assert "there is no file for channel 1, which" in text and "names in its column 'channels'" in text
    save(0.5 * data[..., 1], tmp_path / "a_pve_1.nii.gz")
    assert scans.examine(visit(tmp_path / "a_pve_*.nii.gz"), known).defects == ()


def test_states_of_a_file_must_have_every_channel_of_the_table(tmp_path: Path) -> None:
    known, regions = table(tmp_path), save(posteriors(4, 0), tmp_path / "regions.nii.gz")
    text = told(regions, known, save(posteriors(2, 1), tmp_path / "states.nii.gz"))
    assert "there are 2 channels (0 to 1)" in text and "classes.tsv names 2 too" in text


def test_voxels_of_which_most_matches_no_row_are_told(tmp_path: Path) -> None:
    """No pair of region and state alone is likely there, nor makes up much of the whole."""
    lines = ["class\tregions\tstates", "lesion\t2,3\t1,2", "WM\t3\t0", "GM\t2\t0", "CSF\t1\t0"]
    known = table(tmp_path, "\n".join([*lines, "background\t0\t0"]) + "\n")
    grid = oblique(shape=(30, 30, 30))
    regions = np.zeros((*grid.shape, 4), np.float32)
    regions[..., 1], regions[:15, ..., 1], regions[:15, ..., 3] = 1, 0, 1
    states = np.zeros((*grid.shape, 3), np.float32)
    states[..., 0] = 1
    states[:15, ..., 0], states[:15, ..., 1], states[:15, ..., 2] = 0.2, 0.4, 0.4
    states[20, 20, 20] = [0, 0.5, 0.5]
    files = save(regions, tmp_path / "r.nii.gz", grid), save(states, tmp_path / "s.nii.gz", grid)
    text = told(files[0], known, files[1])
    assert "classes.tsv matches most of the probability in 1 voxel" in text
    assert "region 1 with state 1, region 1 with state 2" in text


def test_a_file_that_ends_early_or_is_damaged(tmp_path: Path) -> None:
    known, soft = table(tmp_path), posteriors(4, 12)
    whole = save(soft, tmp_path / "whole.nii").read_bytes()
    (tmp_path / "short.nii").write_bytes(whole[:-700])
    packed = bytearray(gzip.compress(whole, 1))
    packed[-6] ^= 0xFF
    (tmp_path / "flipped.nii.gz").write_bytes(packed)
    for name in ("short.nii", "flipped.nii.gz"):
        said = told(tmp_path / name, known)
        assert name in said and re.match("header|unreadable", said), said


def test_one_volume_in_four_dimensions_stays_a_label_volume(tmp_path: Path) -> None:
    labels = posteriors(4, 13).argmax(axis=-1).astype(np.int16)
    file = save(labels[..., None], tmp_path / "regions.nii.gz")
    assert not on_disk.is_soft(file)
    found = stages.read_classes(visit(file), table(tmp_path))
    assert found.shares is None and (5 - found.index == labels).all()


def test_one_map_of_probabilities_is_given_by_a_pattern(tmp_path: Path) -> None:
    """Named without a pattern, it looks like broken labels, and the message says what to do."""
    known, lesion = table(tmp_path), posteriors(2, 17)[..., 1]
    regions = save(posteriors(4, 17), tmp_path / "regions.nii.gz")
    file = save(lesion, tmp_path / "m0_lesion.nii.gz")
    said = told(regions, known, file)
    assert said.startswith("non_integer") and "by a pattern with *" in said
    found = stages.read_classes(visit(regions, tmp_path / "m0_*.nii.gz"), known)
    assert found.shares is not None
    np.testing.assert_allclose(found.shares[1] + found.shares[0], lesion, atol=1e-6)


def test_only_one_channel_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from the file at once is never more than a channel."""
    soft, sizes = posteriors(4, 14), list[int]()

    class Opener(ImageOpener):
        def read(self, *arguments: int) -> bytes:
            content = super().read(*arguments)
            sizes.append(len(content))
            return content

    monkeypatch.setattr(on_disk, "ImageOpener", Opener)
    source = on_disk.open_posteriors(save(soft, tmp_path / "p.nii.gz"))
    assert [name for name, _ in source.channels(complete=True)] == list("0123")
    assert max(sizes) == soft[..., 0].nbytes and len(sizes) == 5


def test_patterns(tmp_path: Path) -> None:
    for n in (10, 2, 1):
        (tmp_path / f"p_{n}.nii").touch()
    assert list(matched(tmp_path / "p_*.nii")) == ["1", "2", "10"]
    assert is_pattern(tmp_path / "p_*.nii") and not is_pattern(tmp_path / "p_1.nii")
    assert matched(tmp_path / "none" / "*.nii") == {}


def test_a_folder_or_file_with_an_asterisk_in_its_name_is_found(tmp_path: Path) -> None:
    write_study(tmp_path)
    text = (tmp_path / "cohort.tsv").read_text()
    for name in ("a*", "a*/b*.nii.gz"):
        place = tmp_path / name
        if place.suffix:
            place.write_bytes((tmp_path / "labels" / "P1_m0.nii.gz").read_bytes())
        else:
            place.mkdir()
    (tmp_path / "cohort.tsv").write_text(text.replace("labels/P1_m0.nii.gz", "a*/b*.nii.gz"))
    first = load_cohort(tmp_path / "cohort.tsv").visits[0]
    assert first.regions == tmp_path / "a*" / "b*.nii.gz" and not is_pattern(first.regions)


def study(folder: Path) -> Path:
    """A study whose visits of P1 have soft regions and states."""
    config = write_study(folder, (("P1", "m0", 0), ("P1", "m6", 180)))
    text = (folder / "cohort.tsv").read_text()
    for number, name in enumerate(("m0", "m6")):
        data = nib.Nifti1Image.from_filename(folder / "labels" / f"P1_{name}.nii.gz")
        labels = np.asarray(data.dataobj)
        for label in (0, 2, 4, 41, 43):
            part = (labels == label).astype(np.float32) * np.float32(0.9) + np.float32(0.02)
            nib.save(nib.Nifti1Image(part, data.affine), folder / f"{name}_r{label}.nii.gz")
        lesion = np.random.default_rng(number).random(labels.shape).astype(np.float32)
        (folder / name).mkdir()
        nib.save(nib.Nifti1Image(lesion, data.affine), folder / name / "oedema.nii.gz")
        text = text.replace(f"labels/P1_{name}.nii.gz", f"{name}_r*.nii.gz")
        text = text.replace(f"states/P1_{name}.nii.gz", f"{name}/*.nii.gz")
    (folder / "cohort.tsv").write_text(text)
    return config


def test_check_tells_volumes_as_for_labels_and_keeps_them(tmp_path: Path) -> None:
    config = study(tmp_path)
    checked = validate(config, cache=tmp_path / "cache.json")
    counts = checked.reports[0].counts
    assert counts is not None and checked.reports[0].soft
    lesion = read_image(tmp_path / "m0" / "oedema.nii.gz")[0].astype(np.float64)
    assert counts.states is not None
    assert counts.voxels[counts.states == 1].sum() == pytest.approx(lesion.sum(), rel=1e-5)
    assert counts.voxels.sum() == pytest.approx(lesion.size, rel=1e-5)
    assert validate(config, cache=tmp_path / "cache.json").reports[0].counts is not None
    table_text = (tmp_path / "classes.tsv").read_text()
    (tmp_path / "classes.tsv").write_text(table_text.replace("oedema\t*", "swelling\t*"))
    control = (tmp_path / "control.tsv").read_text()
    (tmp_path / "control.tsv").write_text(control.replace("oedema", "swelling"))
    again = validate(config, cache=tmp_path / "cache.json")  # the name of the channel is no class any more
    assert [warning.code for warning in again.warnings] == ["channels", "channels"]


def remarks_on_kinds(config: Path) -> list[str]:
    return [str(remark) for remark in validate(config).remarks if "the same kind" in str(remark)]


@pytest.mark.parametrize("column", ["regions", "states"])
@pytest.mark.parametrize("hard", ["m0", "m6"])
def test_labels_of_one_visit_and_posteriors_of_another_are_told(
    tmp_path: Path, hard: str, column: str
) -> None:
    config = study(tmp_path)
    assert remarks_on_kinds(config) == []
    text = (tmp_path / "cohort.tsv").read_text()
    soft = {"regions": (f"{hard}_r*.nii.gz", "labels"), "states": (f"{hard}/*.nii.gz", "states")}
    (tmp_path / "cohort.tsv").write_text(text.replace(soft[column][0], f"{soft[column][1]}/P1_{hard}.nii.gz"))
    mine, theirs = ("labels", "posteriors") if hard == "m6" else ("posteriors", "labels")
    (found,) = remarks_on_kinds(config)
    assert found.startswith(f"P1 m6: its {column} are {mine}, those of m0 {theirs}.")


def test_a_first_visit_without_lesions_is_of_no_other_kind(tmp_path: Path) -> None:
    config = study(tmp_path)
    text = (tmp_path / "cohort.tsv").read_text()
    for name in ("m0", "m6"):
        text = text.replace(f"{name}_r*.nii.gz", f"labels/P1_{name}.nii.gz")
    (tmp_path / "cohort.tsv").write_text(text.replace("m0/*.nii.gz", ""))
    assert remarks_on_kinds(config) == []


@pytest.mark.parametrize("cell, words", [
    ("labels/none_*.nii.gz", "matches no file"),
    ("labels/*_*.nii.gz", "one * only"),
    ("*/P1_m0.nii.gz", "one * only"),
    ("labels", "pattern, such as posteriors/*.mgz"),
    ("labels/*.txt", "does not end like"),
])  # fmt: skip
def test_patterns_that_cannot_be_used_stop_the_study(tmp_path: Path, cell: str, words: str) -> None:
    write_study(tmp_path)
    text = (tmp_path / "cohort.tsv").read_text()
    (tmp_path / "cohort.tsv").write_text(text.replace("labels/P1_m0.nii.gz", cell))
    with pytest.raises(InputError) as caught:
        load_cohort(tmp_path / "cohort.tsv")
    assert words in str(caught.value) and "'regions'" in str(caught.value)


@pytest.mark.parametrize("column, words", [
    ("a,b", "has 2 names for 1 label"), ("a,", "empty name"), ("same", "stands for label 3"),
])  # fmt: skip
def test_channels_of_a_class_table_that_cannot_be_used(tmp_path: Path, column: str, words: str) -> None:
    text = TABLE.replace("states\n", "states\tchannels\n").replace("WM\t3\t0\n", "WM\t3\t0\tsame\n")
    with pytest.raises(InputError, match=words):
        table(tmp_path, text.replace("GM\t2\t0\n", f"GM\t2\t0\t{column}\n"))


def test_the_plan_accounts_for_channels(tmp_path: Path) -> None:
    """SynthSeg's 33 channels of 256³: less than all of them at once, more than was measured (1.5 GB)."""
    config = write_study(tmp_path, (("P1", "m0", 0), ("P1", "m6", 180)))
    examples = Path(__file__).parents[2] / "config" / "examples"
    (tmp_path / "classes.tsv").write_text((examples / "synthseg_classes.tsv").read_text())
    config.write_text(config.read_text().replace("control.tsv", "preset:lesion"))
    text = (tmp_path / "cohort.tsv").read_text()
    for old, new in (("images", ""), ("states", ""), ("labels", "p.nii")):
        text = text.replace(f"{old}/P1_m0.nii.gz", new)
    (tmp_path / "cohort.tsv").write_text(text)
    sparse(tmp_path / "p.nii", (256, 256, 256, 33))
    study = studies.load_study(config)
    soft, hard = (Needs(study).maps(study.cohort.visit("P1", name)) for name in ("m0", "m6"))
    assert 1500 < soft.mem_mb < 2200 + hard.mem_mb
    assert soft.minutes > hard.minutes
    assert parameters.files([study.cohort.visit("P1", "m0")]) == [str(tmp_path / "p.nii")]


def sparse(file: Path, shape: tuple[int, ...]) -> None:
    """A NIfTI of zeros that takes no space on the disk."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float32)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with file.open("wb") as stream:
        stream.write(header.binaryblock)
        stream.truncate(352 + 4 * int(np.prod(shape)))
