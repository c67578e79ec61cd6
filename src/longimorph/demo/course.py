"""Changes of a phantom patient between visits, and the ground truth of its split.

A visit is a flow time (how far the ventricles have widened) and a volume of white matter that has become
oedema. Between two visits the flow runs at constant speed while the new oedema replaces the white matter
linearly in time, at material points: the probability of oedema in a voxel of converting tissue rises from 0
to 1 as the voxel is carried along. With J the Jacobian determinant of the flow at that tissue, a class of
probability P in the tissue has the volume ∫ P J, and its rate of change splits unambiguously into

    deformation   ∫ P dJ/dt        the tissue is stretched or compressed
    reallocation  ∫ J dP/dt        the tissue changes class in place

so that over the pair deformation + reallocation = volume at the second visit − volume at the first.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.demo import flow as flows
from longimorph.demo.anatomy import CLASSES, OEDEMA, WM, Anatomy, load_anatomy

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PhantomState:
    """A patient's state at one visit: flow time (1 widens the ventricles by about 37 %) and oedema in mL.

    The oedema's volume is that of the tissue before any flow; ``centre`` is its MNI position in mm.
    """

    flow_time: float = 0.0
    oedema_ml: float = 0.0
    centre: tuple[float, float, float] = (28.0, -24.0, 30.0)


@dataclass(frozen=True)
class Truth:
    """True change of one pair, each array (C,) float64 in mm³, in the order of ``CLASSES``."""

    deformation: Array
    reallocation: Array
    volume_from: Array
    volume_to: Array


@functools.lru_cache(maxsize=1)
def shared_flow() -> flows.WideningFlow:
    """The flow of the shipped anatomy (built once per process)."""
    return flows.build(load_anatomy())


def classes_at(anatomy: Anatomy, state: PhantomState) -> NDArray[np.int8]:
    """Classes of the tissue at a visit, on the anatomy's grid, at the tissue's position before any flow."""
    classes = anatomy.classes.copy()
    classes[oedema(anatomy, state)] = OEDEMA
    return classes


@functools.lru_cache(maxsize=8)
def oedema(anatomy: Anatomy, state: PhantomState) -> NDArray[np.bool_]:
    """White matter converted to oedema: an uneven ball of the requested volume; balls are nested."""
    count = round(state.oedema_ml * 1000)
    mask = np.zeros(anatomy.classes.shape, dtype=bool)
    if count == 0:
        return mask
    nearest = uneven_ball(anatomy.classes == WM, np.asarray(state.centre) - anatomy.origin)
    mask.ravel()[nearest[:count]] = True
    mask.setflags(write=False)
    return mask


def uneven_ball(allowed: NDArray[np.bool_], centre: Array) -> NDArray[np.intp]:
    """Flat indices of the voxels ``allowed`` (i, j, k), from the centre of an uneven ball outwards.

    ``centre`` (3,) is a voxel index, or (n, 3) those of several balls. The first n indices form balls of n
    mm³ in all; larger balls contain smaller ones.
    """
    noise = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal(allowed.shape), 5.0)
    stretch = np.array([1.0, 0.75, 1.0])[:, None, None, None]
    at = np.indices(allowed.shape)
    offsets = (at - one[:, None, None, None] for one in np.atleast_2d(centre))
    nearest = functools.reduce(np.minimum, ((stretch**2 * offset**2).sum(axis=0) for offset in offsets))
    distance = np.sqrt(nearest) + 2.0 * noise / noise.std()
    distance[~allowed] = np.inf
    order: NDArray[np.intp] = np.argsort(distance, axis=None, kind="stable")
    return order[: int(allowed.sum())]


def truth(anatomy: Anatomy, before: PhantomState, after: PhantomState) -> Truth:
    """True deformation and reallocation per class between two states of one patient, in mm³."""
    source, target = classes_at(anatomy, before), classes_at(anatomy, after)
    return split(source, target, _jacobians(before.flow_time, after.flow_time, source != target))


def split(
    source: NDArray[np.int8],
    target: NDArray[np.int8],
    jacobians: tuple[Array, Array, Array],
    n_classes: int = len(CLASSES),
) -> Truth:
    """The ground truth for tissue (i, j, k) of classes ``source`` and ``target`` at the two visits.

    ``jacobians``: J of every voxel at the first and at the second visit, (i, j, k), and its mean between them
    in the converting voxels, (number of them,).
    """
    first, last, mean = jacobians

    def sums(classes: NDArray[np.int8], weights: Array) -> Array:
        """Sum of weights (mm³ per 1 mm voxel) per class."""
        counts = np.bincount(classes.ravel(), weights=weights.ravel(), minlength=n_classes)
        return counts.astype(np.float64)

    kept = source == target
    turned_from, turned_to = source[~kept], target[~kept]
    deformation = sums(source[kept], (last - first)[kept])
    deformation += sums(turned_from, mean - first[~kept]) + sums(turned_to, last[~kept] - mean)
    reallocation = sums(turned_to, mean) - sums(turned_from, mean)
    return Truth(deformation, reallocation, sums(source, first), sums(target, last))


def volumes_of(anatomy: Anatomy, state: PhantomState) -> Array:
    """True volume of each class at a visit, (C,) mm³."""
    return truth(anatomy, PhantomState(), state).volume_to


def _jacobians(start: float, end: float, turned: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """J at the start and at the end per voxel of the anatomy, and its mean in between where converting."""
    if start == end == 0.0:
        return np.ones(turned.shape), np.ones(turned.shape), np.ones(int(turned.sum()))
    first, last, mean = (shared_flow().refine(j, turned.shape) for j in _history(start, end))
    return first, last, mean[turned]


@functools.lru_cache(maxsize=8)
def _history(start: float, end: float) -> tuple[Array, Array, Array]:
    return flows.jacobian_history(shared_flow(), start, end)
