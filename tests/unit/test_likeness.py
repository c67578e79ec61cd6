"""Likeness of two visits: laws of the numbers, one brain against two, and no effect of interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from default_settings import align_settings
from scipy import ndimage

from longimorph.alignment.align import VisitVolumes, align_patient
from longimorph.geometry import poses
from longimorph.geometry.grid import Grid
from longimorph.geometry.resample import field_of_view, image_means, label_fractions
from longimorph.maps.simplex import simplex_maps
from longimorph.verdict import trust
from longimorph.verdict.likeness import blurred_alike, kappa, likeness, moved, warp_check
from longimorph.verdict.status import PairStatus

SHAPE = (44, 50, 40)
GRID = Grid(SHAPE, poses.translation([-60, -70, -55]) @ np.diag([3.0, 3.0, 3.0, 1.0]))
MOTION = (
    poses.translation(GRID.centre() + np.array([6, -4, 5]))
    @ poses.rotation([5, -8, 6])
    @ poses.translation(-GRID.centre())
)
LEVELS = np.array([0.0, 25, 70, 110, 140])


def brain(person: int) -> np.ndarray:
    """Classes of a head whose folds and fluid are the person's own: 0 is background, 4 a lesion."""
    rng = np.random.default_rng(person)
    x = np.moveaxis(np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2, 0, -1) * 3.0
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.0)
    folds /= folds.std()
    size = np.array([46, 56, 44]) * (1 + rng.normal(0, 0.03, 3))
    depth = 1 - np.sqrt(((x / size) ** 2).sum(axis=-1))
    labels = np.where(depth > 0, 2, 0)
    labels[depth + 0.12 * folds > 0.22] = 3
    middle = rng.normal(0, 3, 3)
    labels[np.sqrt((((x - middle) / [8, 18, 9]) ** 2).sum(axis=-1)) + 0.3 * folds < 1] = 1
    return labels


def scan(labels: np.ndarray, noise: int) -> np.ndarray:
    """An image of the classes with noise and the coil's shading."""
    rng = np.random.default_rng(1000 + noise)
    shade = 1 + 0.2 * np.sin(np.indices(SHAPE)[noise % 3] / 20)
    return (LEVELS[labels] * shade + rng.normal(0, 6, SHAPE)).astype(np.float32)


def visit_again(labels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The classes after the head has moved."""
    return label_fractions(labels, GRID, np.linalg.inv(matrix), GRID, 5, 0).argmax(axis=0)


def compared(first: np.ndarray, second: np.ndarray, images: bool = True):
    """The likeness of two label volumes after the project's own alignment."""
    both = (first, scan(first, 1)), (second, scan(second, 2))
    scans = {
        n: VisitVolumes(label, GRID, image if images else None, GRID)
        for n, (label, image) in zip("ab", both, strict=True)
    }
    found = align_patient(scans, align_settings(spacing_mm=3.0), 5, 0)
    assert found.grid is not None
    matrices = [found.visits[name].matrix for name in "ab"]
    maps = [
        simplex_maps(label, GRID, m, found.grid, 5, 0) for (label, _), m in zip(both, matrices, strict=True)
    ]
    pictures = [image_means(image, GRID, m, found.grid) for (_, image), m in zip(both, matrices, strict=True)]
    seen = np.minimum(*(field_of_view(GRID, m, found.grid) for m in matrices))
    return likeness(
        (maps[0], maps[1]), (pictures[0], pictures[1]) if images else None, found.grid, 0, [4], seen
    )


def verdict(alike) -> str:
    return trust.judged(PairStatus(status="ok", likeness=alike.to_dict())).verdict


@pytest.mark.parametrize("person", [1, 2])
def test_one_brain_scanned_twice_is_one_person(person: int) -> None:
    alike = compared(brain(person), visit_again(brain(person), MOTION))
    assert alike.correlation > 0.8
    assert verdict(alike) == trust.TRUST


def test_two_brains_are_not_one_person() -> None:
    assert verdict(compared(brain(1), brain(2))) == trust.DISTRUST


def test_labels_alone_condemn_nobody() -> None:
    """How well labels agree depends on the tool and its classes: at most somebody is asked to look."""
    alike = compared(brain(1), brain(2), images=False)
    assert alike.correlation is None and verdict(alike) != trust.DISTRUST


def maps_of(labels: np.ndarray) -> np.ndarray:
    return np.stack([labels == c for c in range(5)]).astype(np.float32)


def test_a_visit_is_like_itself_whatever_its_brightness() -> None:
    labels = brain(3)
    image = scan(labels, 0)
    maps = maps_of(labels)
    alike = likeness((maps, maps), (image, 3 * image + 500), GRID, 0)
    assert alike.correlation == pytest.approx(1, abs=1e-4)
    assert (alike.brain_dice, alike.kappa) == (1, 1)


def test_the_order_of_the_visits_does_not_matter() -> None:
    one, two = brain(1), brain(2)
    images = scan(one, 0), scan(two, 1)
    there = likeness((maps_of(one), maps_of(two)), images, GRID, 0, [4])
    back = likeness((maps_of(two), maps_of(one)), images[::-1], GRID, 0, [4])
    assert there.to_dict() == pytest.approx(back.to_dict())


def test_what_is_not_compared_and_what_is_ill_does_not_count() -> None:
    labels = brain(1)
    ill = labels.copy()
    ill[20:26, 20:26, 20:26][labels[20:26, 20:26, 20:26] > 0] = 4
    weight = np.ones(SHAPE)
    weight[:, :, :15] = 0
    other = ill.copy()
    other[:, :, :15] = brain(2)[:, :, :15]
    alike = likeness((maps_of(labels), maps_of(other)), None, GRID, 0, [4], weight)
    assert (alike.brain_dice, alike.kappa, alike.correlation) == (1, 1, None)


def test_too_little_brain_says_nothing() -> None:
    empty = maps_of(np.zeros(SHAPE, dtype=int))
    assert likeness((empty, empty), None, GRID, 0).to_dict() == {
        "correlation": None, "brain_dice": None, "kappa": None,
    }  # fmt: skip


def test_kappa_is_agreement_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 200_000))
    assert kappa(a, a) == 1
    assert kappa(a, b) == pytest.approx(0, abs=0.01)
    assert kappa(a, np.where(rng.random(len(a)) < 0.5, a, b)) == pytest.approx(0.5, abs=0.01)
    assert kappa(np.ones(5, int), np.ones(5, int)) is None


def test_the_control_is_blurred_exactly_as_much_as_what_is_moved() -> None:
    """Of x², interpolation and the blur both give too much, by the variance f (1 − f) of their weights."""
    x = np.broadcast_to(np.arange(30.0)[:, None, None], (30, 5, 5))
    inner = slice(8, 22)
    for step in (0.0, 0.25, 0.5, -1.7, 3.0):
        steps = np.zeros((3, *x.shape), dtype=np.float32)
        steps[0] = step
        too_much = (moved(x**2, steps) - (x + step) ** 2)[inner]
        assert blurred_alike(x**2, steps)[inner] - x[inner] ** 2 == pytest.approx(too_much, abs=1e-3)


def smooth(seed: int, width: float = 1.2, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return np.asarray(field / field.std())


def shifted(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The image moved by voxels without loss (its Fourier coefficients turned)."""
    return np.asarray(np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(image), shift)).real)


def changed_maps() -> tuple[np.ndarray, np.ndarray]:
    """Maps of a brain that fills the grid, a third of which changes its class."""
    first = np.ones(SHAPE, dtype=int)
    second = first.copy()
    second[12:30, 12:36, 12:28] = 2
    return maps_of(first), maps_of(second)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_interpolation_alone_neither_raises_nor_lowers_the_correlation(fraction: float, noise: float) -> None:
    """A warp that undoes a known shift leaves only its interpolation: the check must see no difference."""
    truth, shift = smooth(0), np.full(3, fraction)
    rng = np.random.default_rng(1)
    target = truth + noise * rng.normal(size=SHAPE)
    steps = np.broadcast_to(shift.reshape(3, 1, 1, 1), (3, *SHAPE)).astype(np.float32)
    there = truth + noise * rng.normal(size=SHAPE)
    undone = warp_check(changed_maps(), (shifted(there, shift), target), steps * 3.0, GRID, 0)
    still = warp_check(changed_maps(), (there, target), steps * 3.0, GRID, 0)
    assert undone is not None and still is not None
    assert abs(undone.after - still.before) < 0.005


def test_a_warp_that_is_right_raises_the_correlation_and_one_that_is_noise_lowers_it() -> None:
    truth = smooth(0, 2.0)
    field = np.stack([1.5 * smooth(10 + axis, 5.0) for axis in range(3)]).astype(np.float32)
    target = moved(truth, field)
    right = warp_check(changed_maps(), (truth, target), field * 3.0, GRID, 0)
    noise = warp_check(changed_maps(), (truth, truth + 0.1 * smooth(5)), field * 3.0, GRID, 0)
    assert right is not None and noise is not None
    assert right.after > right.before + 0.1
    assert noise.after < noise.before - trust.WARP_LOSS
    said = [r.code for r in trust.reasons(PairStatus(status="ok", warp_check=noise.to_dict()))]
    assert said == ["label_noise"]
    assert trust.reasons(PairStatus(status="ok", warp_check=right.to_dict())) == []


def test_without_change_of_classes_or_contrast_there_is_no_check() -> None:
    same = maps_of(np.ones(SHAPE, dtype=int))
    still = np.zeros((3, *SHAPE), dtype=np.float32)
    assert warp_check((same, same), (smooth(0), smooth(0)), still, GRID, 0) is None
    flat = np.ones(SHAPE)
    assert warp_check(changed_maps(), (flat, flat), still, GRID, 0) is None
