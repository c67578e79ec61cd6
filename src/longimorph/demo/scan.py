"""Scans of a phantom patient: each visit in its own pose, on its own voxel grid, sampled once.

A scan has its own world: the patient's head is rotated and shifted in it, and the header's axes, voxel sizes
and field of view are the scanner's. Every voxel is mapped back through the pose and the flow to one point of
the 1 mm anatomy, where intensity and the share of each class are interpolated once, trilinearly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import axcodes2ornt
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from longimorph.demo import flow as flows
from longimorph.demo.anatomy import BACKGROUND, CLASSES, OEDEMA, REGION_LABELS, WM, Anatomy
from longimorph.demo.course import PhantomState, classes_at, oedema, shared_flow, volumes_of
from longimorph.geometry.grid import Grid

Array = NDArray[np.float64]

_T1_OF_OEDEMA = 0.72
_NOISE = 5.0


@dataclass(frozen=True)
class Scanner:
    """Scan parameters of a visit: voxel sizes in mm, axis codes, grid tilt in degrees, margin in mm."""

    spacing: tuple[float, float, float]
    axes: str = "RAS"
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    margin_mm: float = 10.0


@dataclass(frozen=True)
class PhantomScan:
    """Volumes of one visit on ``grid``, uint8: labels of ``regions`` and ``states``, intensities."""

    grid: Grid
    regions: NDArray[np.uint8]
    states: NDArray[np.uint8]
    image: NDArray[np.uint8]


def pose(rotation_deg: Array, shift_mm: Array, centre: Array) -> Array:
    """Rigid 4×4 matrix, anatomy's world → scan's world (RAS mm): xyz angles about ``centre``, and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix()
    matrix[:3, 3] = centre + shift_mm - matrix[:3, :3] @ centre
    return matrix


def scan_grid(anatomy: Anatomy, scanner: Scanner, anatomy_to_scan: Array) -> Grid:
    """The scanner's voxel grid around the posed head."""
    brain = np.argwhere(anatomy.classes != BACKGROUND) + anatomy.origin
    posed = brain @ anatomy_to_scan[:3, :3].T + anatomy_to_scan[:3, 3]
    codes = axcodes2ornt(tuple(scanner.axes))
    axes = np.zeros((3, 3))
    axes[codes[:, 0].astype(int), np.arange(3)] = codes[:, 1]
    axes = Rotation.from_euler("xyz", scanner.tilt_deg, degrees=True).as_matrix() @ axes
    along = posed @ axes
    low, high = along.min(axis=0) - scanner.margin_mm, along.max(axis=0) + scanner.margin_mm
    i, j, k = (int(n) for n in np.ceil((high - low) / scanner.spacing) + 1)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(scanner.spacing)
    affine[:3, 3] = axes @ low
    return Grid((i, j, k), affine)


def render(
    anatomy: Anatomy, state: PhantomState, grid: Grid, anatomy_to_scan: Array, seed: int
) -> PhantomScan:
    """Sample the patient in ``state`` on ``grid``; ``seed`` determines the image's noise."""
    tissue, t1 = classes_at(anatomy, state), _intensities(anatomy, state)
    inside, points = _tissue_points(anatomy, grid, anatomy_to_scan, state.flow_time)
    shares = np.stack([_sample(tissue == index, points) for index in range(BACKGROUND)])
    shares = np.concatenate([shares, 1 - shares.sum(axis=0, keepdims=True)])
    wanted = volumes_of(anatomy, state) / grid.voxel_volume
    found = np.full(grid.shape, BACKGROUND, dtype=np.int8)
    found[inside] = label_shares(shares, wanted)
    image = np.zeros(grid.shape)
    image[inside] = _sample(t1, points)
    noise = np.random.default_rng(seed).normal(0.0, _NOISE, image.shape)
    image = np.where(image > 0, np.clip(image + noise, 1, 255), 0)
    states = (found == OEDEMA).astype(np.uint8)
    return PhantomScan(grid, _region_numbers()[found], states, image.astype(np.uint8))


def _tissue_points(
    anatomy: Anatomy, grid: Grid, anatomy_to_scan: Array, flow_time: float
) -> tuple[NDArray[np.bool_], Array]:
    """The scan's voxels (i, j, k) in the head, and the anatomy indices (3, n) of their tissue's origin."""
    to_index = np.linalg.inv(anatomy.affine) @ np.linalg.inv(anatomy_to_scan) @ grid.affine
    head, inside, points = _head(anatomy), np.zeros(grid.shape, dtype=bool), []
    for plane in range(grid.shape[0]):
        candidates = _plane(to_index, grid.shape[1:], plane)
        inside[plane] = ndimage.map_coordinates(head, np.rint(candidates), order=0, mode="constant") > 0
        points.append(back_to_tissue(candidates[:, inside[plane]], flow_time))
    return inside, np.concatenate(points, axis=1)


def _sample(volume: NDArray[Any], points: Array) -> NDArray[np.float32]:
    """Trilinear interpolation of a volume of the anatomy at ``points`` (3, n), 0 outside."""
    found = ndimage.map_coordinates(volume.astype(np.float32), points, order=1, mode="constant")
    return np.asarray(found, dtype=np.float32)


def label_shares(shares: NDArray[np.float32], wanted: Array) -> NDArray[np.int8]:
    """The class (n,) with the largest share of each voxel, shares (C, n), adjusted to the wanted volumes.

    Whole voxels cannot follow a boundary, so counts of the largest shares miss the volume of the cortex by up
    to 1 mL, as much as the change that the phantom is to show. A small constant per class, added to its
    share, gives the class the ``wanted`` number of voxels (C,); the last class, the background, gets the
    rest.
    """
    largest = shares.argmax(axis=0)
    mixed = shares.max(axis=0) < 1
    wanted = wanted - np.bincount(largest[~mixed], minlength=len(shares))
    part = shares[:, mixed]
    scores = part.copy()
    for _ in range(4):
        for index in range(len(shares) - 1):
            count = round(float(wanted[index]))
            if not 0 < count < part.shape[1]:
                continue
            lead = part[index] - np.delete(scores, index, axis=0).max(axis=0)
            scores[index] = part[index] - np.partition(lead, -count)[-count]
    largest[mixed] = scores.argmax(axis=0)
    return np.asarray(largest, dtype=np.int8)


def back_to_tissue(points: Array, flow_time: float) -> Array:
    """Position before any flow of the tissue now at ``points`` (3, ...; mm in the anatomy's frame)."""
    if flow_time == 0.0:
        return points
    inverse, flow = _inverse(flow_time), shared_flow()
    return points + np.stack([flow.sample(component, points) for component in inverse])


@functools.lru_cache(maxsize=4)
def _inverse(flow_time: float) -> flows.Field:
    return flows.displacement(shared_flow(), -flow_time)


@functools.lru_cache(maxsize=1)
def _head(anatomy: Anatomy) -> NDArray[np.int8]:
    """1 where the anatomy is not empty, and one voxel around it (the flow is zero there)."""
    return ndimage.binary_dilation((anatomy.classes != BACKGROUND) | (anatomy.t1 > 0)).astype(np.int8)


def _plane(to_index: Array, shape: tuple[int, ...], plane: int) -> Array:
    """Anatomy indices (3, j, k) of one plane of a scan."""
    j, k = np.indices(shape, dtype=np.float64)
    return np.stack([row[0] * plane + row[1] * j + row[2] * k + row[3] for row in to_index[:3]])


def _intensities(anatomy: Anatomy, state: PhantomState) -> NDArray[np.float32]:
    """T1 of the tissue, darkened where it has become oedema (over 1 mm at its edge)."""
    edge = ndimage.gaussian_filter(oedema(anatomy, state).astype(np.float32), 1.0)
    return anatomy.t1 * (1.0 - (1.0 - _T1_OF_OEDEMA) * edge)


def _region_numbers() -> NDArray[np.uint8]:
    """Region number of each class; oedema is in white matter."""
    numbers = {**REGION_LABELS, OEDEMA: REGION_LABELS[WM]}
    return np.array([numbers[index] for index in range(len(CLASSES))], dtype=np.uint8)
