"""Rigid motions as 4×4 matrices: their size, their mean, and poses consistent with many pairs.

All functions expect matrices whose rotations act about the brain (coordinates centred on it), so that the
length of a translation is meaningful and does not include the lever arm of a distant origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation

from longimorph.geometry.grid import FloatArray, nearest_orthogonal, transform_points

_BRAIN_RADIUS_MM = 60.0  # one radian moves the brain by about as much
_ITERATIONS = 50


@dataclass(frozen=True)
class Edge:
    """A measured motion between two visits: ``matrix`` maps points of visit ``start`` to ``end``."""

    start: int
    end: int
    matrix: FloatArray


def translation(shift: npt.ArrayLike) -> FloatArray:
    """The 4×4 matrix that adds ``shift`` (3,)."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


def rotation(vector_deg: npt.ArrayLike) -> FloatArray:
    """The 4×4 rotation about the origin by a rotation vector (3,) in degrees."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.asarray(vector_deg, dtype=np.float64), degrees=True).as_matrix()
    return matrix


def rotation_deg(matrix: npt.ArrayLike) -> float:
    """Angle of the rotation of a rigid 4×4 matrix, degrees from 0 to 180."""
    turn = nearest_orthogonal(np.asarray(matrix)[:3, :3])
    return float(np.degrees(Rotation.from_matrix(turn).magnitude()))


def mean_displacement(matrix: npt.ArrayLike, points: FloatArray) -> float:
    """Mean distance, mm, by which a 4×4 matrix moves points (n, 3)."""
    return float(np.linalg.norm(transform_points(matrix, points) - points, axis=1).mean())


def inverse(matrix: FloatArray) -> FloatArray:
    """The inverse of a rigid 4×4 matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def halfway(a: FloatArray, b: FloatArray) -> FloatArray:
    """The rigid matrix half-way from ``a`` to ``b`` along the group's geodesic.

    The inverse of the result is half-way between the inverses.
    """
    step = np.real(logm(inverse(a) @ b))
    return rigid(a @ expm(step / 2))


def rigid(matrix: FloatArray) -> FloatArray:
    """Project a matrix that is rigid up to rounding to an exactly rigid one."""
    result = matrix.copy()
    result[:3, :3] = nearest_orthogonal(matrix[:3, :3])
    result[3] = (0.0, 0.0, 0.0, 1.0)
    return result


def components(n: int, edges: Sequence[Edge]) -> list[list[int]]:
    """Groups of visits 0 … n−1 connected by edges, each in order, the largest group first."""
    group = list(range(n))
    for edge in edges:
        a, b = group[edge.start], group[edge.end]
        group = [min(a, b) if g in (a, b) else g for g in group]
    members = [[v for v in range(n) if group[v] == g] for g in sorted(set(group))]
    return sorted(members, key=len, reverse=True)


def solve_poses(n: int, edges: Sequence[Edge]) -> list[FloatArray]:
    """Find the matrices from one common space to each of ``n`` visits that agree best with all edges.

    Least squares over the residual motions, with rotations weighted as the displacement that they cause at
    the brain's surface. The solution favours no visit and no direction. The common space itself is arbitrary
    (see `centred_on_mean`): it stays that of visit 0. The edges must connect all visits.
    """
    poses = _first_guess(n, edges)
    both = [*edges, *(Edge(e.end, e.start, inverse(e.matrix)) for e in edges)]
    for _ in range(_ITERATIONS if both else 0):
        rows, rest = zip(*(_residual(n, poses, edge) for edge in both), strict=True)
        others = np.concatenate(rows)[:, 6:]  # a motion of all visits alike changes nothing, so visit 0 stays
        step = np.linalg.lstsq(others, np.concatenate(rest), rcond=1e-10)[0].reshape(n - 1, 6)
        poses = [poses[0], *(_moved(pose, xi) for pose, xi in zip(poses[1:], step, strict=True))]
        if np.abs(step).max() < 1e-12:
            break
    return poses


def centred_on_mean(poses: Sequence[FloatArray]) -> list[FloatArray]:
    """Express the poses in the common space that lies in the middle of all visits.

    The rotations to the visits have the identity as their mean (nearest to their sum), and the translations
    to them sum to zero, so that all visits are treated alike.
    """
    turns = np.array([pose[:3, :3] for pose in poses])
    u, _, vt = np.linalg.svd(turns.sum(axis=0))
    middle = vt.T @ np.diag([1.0, 1.0, np.linalg.det(vt.T @ u.T)]) @ u.T
    turns = turns @ middle
    shifts = np.array([pose[:3, 3] for pose in poses])
    centre = -np.linalg.lstsq(turns.sum(axis=0), shifts.sum(axis=0), rcond=1e-6)[0]
    result = []
    for turn, shift in zip(turns, shifts, strict=True):
        matrix = translation(shift + turn @ centre)
        matrix[:3, :3] = turn
        result.append(rigid(matrix))
    return result


def _first_guess(n: int, edges: Sequence[Edge]) -> list[FloatArray]:
    """Initial poses along a tree of edges from visit 0."""
    found: dict[int, FloatArray] = {0: np.eye(4)}
    while len(found) < n:
        before = len(found)
        for edge in edges:
            if edge.start in found and edge.end not in found:
                found[edge.end] = edge.matrix @ found[edge.start]
            elif edge.end in found and edge.start not in found:
                found[edge.start] = inverse(edge.matrix) @ found[edge.end]
        if len(found) == before:
            raise ValueError("the edges do not connect all visits")
    return [found[v] for v in range(n)]


def _residual(n: int, poses: Sequence[FloatArray], edge: Edge) -> tuple[FloatArray, FloatArray]:
    """The residual motion of one edge (6,) and minus its derivative by the steps of the poses (6, 6 n)."""
    left = edge.matrix @ poses[edge.start] @ inverse(poses[edge.end])
    turn, shift = edge.matrix[:3, :3], edge.matrix[:3, 3]
    vector = Rotation.from_matrix(left[:3, :3]).as_rotvec()
    rows = np.zeros((6, 6 * n))
    rows[:3, 6 * edge.end : 6 * edge.end + 3] = _log_derivative(-vector)
    rows[3:, 6 * edge.end + 3 : 6 * edge.end + 6] = left[:3, :3]
    rows[:3, 6 * edge.start : 6 * edge.start + 3] = -_log_derivative(vector) @ turn
    rows[3:, 6 * edge.start : 6 * edge.start + 3] = -_cross(shift - left[:3, 3]) @ turn
    rows[3:, 6 * edge.start + 3 : 6 * edge.start + 6] = -turn
    rest = np.concatenate([vector, left[:3, 3]])
    weight = np.array([_BRAIN_RADIUS_MM] * 3 + [1.0] * 3)
    return rows * weight[:, None], rest * weight


def _cross(vector: FloatArray) -> FloatArray:
    """The matrix that maps v (3,) to ``vector`` × v."""
    return np.asarray(np.cross(vector, np.eye(3)).T)


def _log_derivative(vector: FloatArray) -> FloatArray:
    """How the rotation vector (3,), in radians, changes when a small rotation follows: (3, 3)."""
    angle, cross = float(np.linalg.norm(vector)), _cross(vector)
    if angle < 1e-4:
        return np.eye(3) - cross / 2 + cross @ cross / 12
    factor = 1 / angle**2 - (1 + np.cos(angle)) / (2 * angle * np.sin(angle))
    return np.asarray(np.eye(3) - cross / 2 + factor * cross @ cross)


def _moved(pose: FloatArray, step: FloatArray) -> FloatArray:
    """A pose followed by a small motion (rotation vector in radians, translation in mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(step[:3]).as_matrix()
    matrix[:3, 3] = step[3:]
    return rigid(matrix @ pose)
