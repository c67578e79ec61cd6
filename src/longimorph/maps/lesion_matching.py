"""Which lesions of two visits are the same, after tissue has moved, and what happened to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse, spatial

from longimorph.geometry.grid import FloatArray
from longimorph.maps.field_of_view import NOT_COMPARED
from longimorph.maps.lattice import Lattice
from longimorph.maps.lesions import Lesions

NEW, GONE, MERGED, SPLIT = "new", "gone", "merged", "split"
ENLARGED, SHRUNK, STABLE = "enlarged", "shrunk", "stable"
EVENTS = (NEW, ENLARGED, MERGED, SPLIT, SHRUNK, GONE, STABLE, NOT_COMPARED)

LEAST_OVERLAP = 0.25
"""Share of one of two lesions that must lie in the other, after transport, for the two to be the same."""

NEAR_MM = 2.0
"""Gap up to which a lesion that overlaps none at the other visit is taken for a lesion there that overlaps
none either: alignment, warp and the edges of a small lesion are no more precise."""

Points = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Flow:
    """Where tissue goes between two visits, as displacements (3, i, j, k) in mm along the axes of the grid.

    ``back`` at a point of the second visit leads to the first visit, ``ahead`` the other way.
    """

    lattice: Lattice
    back: FloatArray
    ahead: FloatArray

    def from_target(self, points: Points) -> FloatArray:
        """Where voxels (3, n) of the lattice at the second visit were at the first."""
        return self._moved(points, self.back)

    def from_source(self, points: Points) -> FloatArray:
        """Where voxels (3, n) of the lattice at the first visit are at the second."""
        return self._moved(points, self.ahead)

    def _moved(self, points: Points, field: FloatArray) -> FloatArray:
        at = self.lattice.to_grid(points.astype(np.float64))
        steps = [ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in field]
        sides = self.lattice.fine.spacing[:, None]
        return np.asarray(points + np.stack(steps) / sides)


@dataclass(frozen=True)
class Group:
    """Lesions of the two visits that are one: numbers, from 1, at the first and at the second visit.

    ``links``: a number of each visit and their overlap in mm³, the largest first.
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    links: tuple[tuple[int, int, float], ...] = ()


def match(source: Lesions, target: Lesions, flow: Flow) -> list[Group]:
    """Group the lesions of two visits: each lesion is in one group, and those that overlap share one.

    Two lesions overlap if `LEAST_OVERLAP` of one of them lies in the other. Lesions below the smallest volume
    take part, so that a lesion may shrink below it and be the same; a group of such lesions alone is left
    out.
    """
    links = _links(source, target, flow)
    links += _near(source, target, flow, links)
    nodes = source.count + target.count
    ends = ([a - 1 for a, _, _ in links], [source.count + b - 1 for _, b, _ in links])
    graph = sparse.coo_array((np.ones(len(links)), ends), shape=(nodes, nodes))
    count, group = sparse.csgraph.connected_components(graph, directed=False)
    members: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for node, found in enumerate(group):
        side = int(node >= source.count)
        members[found][side].append(node + 1 - side * source.count)
    own: list[list[tuple[int, int, float]]] = [[] for _ in range(count)]
    for link in sorted(links, key=lambda link: -link[2]):
        own[group[link[0] - 1]].append(link)
    return [
        Group(tuple(first), tuple(last), tuple(between))
        for (first, last), between in zip(members, own, strict=True)
        if counted(first, source) or counted(last, target)
    ]


def counted(numbers: list[int] | tuple[int, ...], lesions: Lesions) -> int:
    """How many of the lesions with ``numbers`` are large enough to count."""
    return int(lesions.large[[number - 1 for number in numbers]].sum()) if numbers else 0


def event(group: Group, source: Lesions, target: Lesions, change: float, uncertainty: float) -> str:
    """What happened to a group whose volume changed by ``change`` ± ``uncertainty`` mm³.

    A lesion that has become too small to count still exists. More lesions before than after have merged,
    fewer have split; with as many, the change of volume decides.
    """
    if not group.source or not group.target:
        return NEW if group.target else GONE
    before, after = max(counted(group.source, source), 1), max(counted(group.target, target), 1)
    if before != after:
        return MERGED if before > after else SPLIT
    if abs(change) <= uncertainty:
        return STABLE
    return ENLARGED if change > 0 else SHRUNK


def uncertainty(group: Group, source: Lesions, target: Lesions) -> float:
    """Standard deviation of the change of a group's volume, mm³: the edges at both visits are independent."""
    sides = ((group.source, source), (group.target, target))
    found = [lesions.uncertainties[[n - 1 for n in numbers]].sum() for numbers, lesions in sides if numbers]
    return float(np.hypot.reduce(found))


def place(group: Group, source: Lesions, target: Lesions) -> FloatArray:
    """The voxel of a group nearest to its middle, at the second visit or, if it is gone, at the first."""
    lesions, numbers = (target, group.target) if group.target else (source, group.source)
    points = np.argwhere(np.isin(lesions.numbers, numbers))
    away = (points - points.mean(axis=0)) * lesions.grid.spacing
    return np.asarray(points[np.argmin((away**2).sum(axis=1))], dtype=np.float64)


def _links(source: Lesions, target: Lesions, flow: Flow) -> list[tuple[int, int, float]]:
    """The lesions of the two visits that overlap, with their overlap in mm³."""
    back = _counts(target, source, flow.from_target).T
    ahead = _counts(source, target, flow.from_source)
    volume = source.grid.voxel_volume
    both = back.maximum(ahead).tocoo()
    found = []
    for a, b in zip(*both.coords, strict=True):
        in_target = back[a, b] * volume / target.volumes[b - 1]
        in_source = ahead[a, b] * volume / source.volumes[a - 1]
        if max(in_target, in_source) >= LEAST_OVERLAP:
            found.append((int(a), int(b), float(max(back[a, b], ahead[a, b]) * volume)))
    return found


def _counts(here: Lesions, there: Lesions, moved: object) -> sparse.csr_array:
    """How many voxels of each lesion ``here`` end in each lesion ``there``, (n + 1, m + 1)."""
    assert callable(moved)
    points = np.array(np.nonzero(here.numbers))
    at = np.rint(moved(points)).astype(np.intp)
    inside = ((at >= 0) & (at < np.array(there.numbers.shape)[:, None])).all(axis=0)
    points, at = points[:, inside], at[:, inside]
    rows, found = here.numbers[tuple(points)], there.numbers[tuple(at)]
    hit = found > 0
    ones = np.ones(int(hit.sum()))
    return sparse.coo_array((ones, (rows[hit], found[hit])), shape=(here.count + 1, there.count + 1)).tocsr()


def _near(
    source: Lesions, target: Lesions, flow: Flow, links: list[tuple[int, int, float]]
) -> list[tuple[int, int, float]]:
    """Pairs of lesions that overlap none, each the other's nearest and within `NEAR_MM`; overlap 0.

    They are near if they are so after transport or in place: a warp that follows noise may part a lesion
    from itself.
    """
    firsts = _alone(source, {a for a, _, _ in links})
    lasts = _alone(target, {b for _, b, _ in links})
    if not firsts or not lasts:
        return []
    sides = source.grid.spacing[:, None]
    here = [(points * sides, flow.from_source(points) * sides) for points in firsts.values()]
    there = [(points * sides, flow.from_target(points) * sides) for points in lasts.values()]
    ways = ((0, 0), (0, 1), (1, 0))  # in place, after moving the second, after moving the first
    gaps, apart = (
        np.array([[min(far(a[i], b[j]) for i, j in ways) for b in there] for a in here])
        for far in (_gap, _between_middles)
    )
    gaps, nearest = gaps - sides.max(), apart.argmin(axis=1)
    names = list(firsts), list(lasts)
    return [
        (names[0][a], names[1][b], 0.0)
        for a, b in enumerate(nearest)
        if gaps[a, b] <= NEAR_MM and apart[:, b].argmin() == a
    ]


def _alone(lesions: Lesions, linked: set[int]) -> dict[int, Points]:
    """The voxels (3, n) of each lesion that is large enough and not in ``linked``."""
    numbers = [int(n) + 1 for n in np.flatnonzero(lesions.large) if n + 1 not in linked]
    return {n: np.array(np.nonzero(lesions.numbers == n)) for n in numbers}


def _gap(one: FloatArray, other: FloatArray) -> float:
    """The smallest distance between points (3, n) of two clouds."""
    return float(np.min(spatial.cKDTree(one.T).query(other.T)[0]))


def _between_middles(one: FloatArray, other: FloatArray) -> float:
    return float(np.linalg.norm(one.mean(axis=1) - other.mean(axis=1)))
