"""Cases with known truth: what happens to a brain between two visits, on any anatomy.

Tissue moves by a flow, or turns into another class in place, or both; `course` says what is true then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from longimorph.demo import anatomy as brains
from longimorph.demo import flow as flows
from longimorph.demo.anatomy import CLASSES, COLORS, GM, REGION_LABELS, THALAMUS, VENTRICLES, WM, Anatomy
from longimorph.demo.course import Array, Truth, split, uneven_ball
from longimorph.demo.flow import Field, WideningFlow
from longimorph.errors import LongimorphError
from longimorph.study.classes import BACKGROUND as BACKGROUND_NAME
from longimorph.study.classes import HEALTHY, ClassRow, ClassTable

_OEDEMA, _MASS, _RING = ("oedema",), ("mass",), ("enhancing", "necrosis")
_STATE_COLORS = {"oedema": COLORS["oedema"], "mass": "#D55E00", "enhancing": "#D55E00", "necrosis": "#009E73"}
_AROUND_MASS = {WM: 1.0, GM: 0.25, THALAMUS: 1.0, VENTRICLES: 2.0}

_SPACED_MM = 25.0

Volumes = tuple[float, float]
Place = Literal["deep", "ventricle", "cortex", "periventricular"]


@dataclass(frozen=True)
class PhantomCase:
    """What changes between two visits.

    ``ventricles``: factor by which they widen. ``mass_ml``: volumes of a mass at both visits, which grows by
    pushing. ``oedema_ml``: white matter that is oedema at both visits, measured before anything moves.
    ``core_ml``: volumes of the necrotic core of an enhancing lesion of ``lesion_ml``, of which the ring turns
    into core. ``place`` is where a lesion lies: deep in white matter, near a ventricle, near the cortex, or
    in several pieces along the ventricles. ``infiltrated`` is the share of a mass's growth that takes over
    tissue in place; the rest displaces tissue that keeps its volume, and fluid gives way. Without it a mass
    compresses all tissue around it. ``pathologies`` are the classes beside those of the anatomy, ``preset``
    the control matrix that suits the case; with ``others`` it is measured too, for comparison.
    """

    ventricles: float = 1.0
    oedema_ml: Volumes | None = None
    mass_ml: Volumes | None = None
    infiltrated: float | None = None
    place: Place = "deep"
    core_ml: Volumes | None = None
    lesion_ml: float = 15.0
    pathologies: tuple[str, ...] = _OEDEMA
    preset: str = "lesion"
    others: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether tissue moves at all."""
        return self.ventricles != 1.0 or self.mass_ml is not None

    @property
    def classes(self) -> ClassTable:
        """The classes, pathologies first and the background last."""
        rows = [ClassRow(name, None, ((n, n),), name, name, _STATE_COLORS[name])
                for n, name in enumerate(self.pathologies, 1)]  # fmt: skip
        for index, name in enumerate(CLASSES[1:], 1):
            number = REGION_LABELS[index]
            state = "" if name == BACKGROUND_NAME else HEALTHY
            rows.append(ClassRow(name, ((number, number),), None, name, state, COLORS[name]))
        return ClassTable("phantom", tuple(rows))


CASES = {
    "null": PhantomCase(),
    "ventricles10": PhantomCase(ventricles=1.10),
    "ventricles25": PhantomCase(ventricles=1.25, others=("atrophy",)),
    "ventricles50": PhantomCase(ventricles=1.50),
    "mass": PhantomCase(mass_ml=(10.0, 16.0), pathologies=_MASS, preset="growth", others=("atrophy",)),
    "oedema2": PhantomCase(oedema_ml=(0.0, 2.0)),
    "oedema15": PhantomCase(oedema_ml=(0.0, 15.0), others=("growth",)),
    "oedema30": PhantomCase(oedema_ml=(0.0, 30.0)),
    "necrosis": PhantomCase(core_ml=(3.0, 8.0), pathologies=_RING, others=("growth",)),
    "both": PhantomCase(ventricles=1.37, oedema_ml=(0.0, 15.0)),
    "pushed": PhantomCase(ventricles=1.5, oedema_ml=(15.0, 15.0), others=("growth", "atrophy")),
    "resorbing": PhantomCase(ventricles=1.37, oedema_ml=(15.0, 8.0)),
    "carried": PhantomCase(ventricles=1.5, oedema_ml=(10.0, 10.0), place="ventricle"),
    "periventricular25": PhantomCase(ventricles=1.25, oedema_ml=(10.0, 20.0), place="periventricular"),
    "periventricular50": PhantomCase(ventricles=1.50, oedema_ml=(20.0, 30.0), place="periventricular"),
}
"""Every case of the benchmark whose question the control matrix of its preset decides."""
_GROWTH: dict[Place, Volumes] = {"deep": (10.0, 18.0), "ventricle": (8.0, 14.0), "cortex": (15.0, 24.0)}
OPEN_CASES = {
    f"{place}{share}": PhantomCase(
        mass_ml=volumes, infiltrated=share / 100, place=place, pathologies=_MASS, preset="open",
        others=("growth", "lesion"),
    )
    for place, volumes in _GROWTH.items()
    for share in (0, 25, 50, 75, 100)
}  # fmt: skip
"""A mass at three places that displaces or infiltrates: the volumes at the two visits do not say which."""
ALIASES = {"ventricles": PhantomCase(ventricles=1.37), "oedema": CASES["oedema15"]}
"""Further names: what happens to the patients of the demo."""
RANDOM = "random"


@dataclass(frozen=True, eq=False)
class PhantomCourse:
    """One case on one anatomy.

    ``before`` and ``after`` (i, j, k) int8: classes of the tissue at both visits, where it was at the first,
    on the anatomy's grid. ``flow`` carries it for ``time`` (None: nothing moves).
    """

    classes: ClassTable
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    flow: WideningFlow | None
    time: float
    truth: Truth

    def inverse(self) -> Field:
        """Displacement in mm (3, i, j, k on the flow's grid) back to the original position of the tissue."""
        if self.flow is None:
            raise ValueError("nothing moves in this case")
        return flows.displacement(self.flow, -self.time)


def named(case: str) -> PhantomCase:
    """The case of this name; ``random`` and a number is a drawn one. Raises KeyError with the known names."""
    known = CASES | OPEN_CASES | ALIASES
    if case.removeprefix(RANDOM).isdecimal() and case.startswith(RANDOM):
        return drawn(int(case.removeprefix(RANDOM)))
    if case not in known:
        raise KeyError(f"there is no case '{case}'; there are: {', '.join(known)}")
    return known[case]


def drawn(seed: int) -> PhantomCase:
    """A random case: ventricles that widen, and oedema that appears, grows or shrinks at a random place."""
    rng = np.random.default_rng(seed)
    places: tuple[Place, ...] = ("deep", "ventricle", "periventricular")
    first, last = (round(float(ml), 1) for ml in rng.uniform(0, 20, 2))
    widened = round(float(rng.uniform(1, 1.4)), 2)
    return PhantomCase(widened, oedema_ml=(first, last), place=places[rng.integers(len(places))])


def follow(anatomy: Anatomy, case: PhantomCase) -> PhantomCourse:
    """Apply ``case`` to the brain of ``anatomy``; return the result and its truth."""
    before, after = _tissue(anatomy, case)
    flow, time = _flow(anatomy, case, before)
    turned, count = before != after, len(case.classes.names)
    if flow is None:
        still = np.ones(before.shape)
        jacobians = still, still, still[turned]
    else:
        first, last, mean = (flow.refine(j, before.shape) for j in flows.jacobian_history(flow, 0.0, time))
        jacobians = first, last, mean[turned]
    return PhantomCourse(case.classes, before, after, flow, time, split(before, after, jacobians, count))


def _tissue(anatomy: Anatomy, case: PhantomCase) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Classes of the tissue at both visits, pathologies first, where the tissue was at the first visit."""
    pathologies = len(case.pathologies)
    before = (anatomy.classes + (pathologies - 1)).astype(np.int8)
    if case.oedema_ml:
        after = before.copy()
        for tissue, oedema_ml in zip((before, after), case.oedema_ml, strict=True):
            tissue.ravel()[_lesion(anatomy, (WM,), case.place, oedema_ml)] = 0
        return before, after
    if case.mass_ml:
        first, last = case.mass_ml
        after = before.copy()
        taken = first + (case.infiltrated or 0) * (last - first)
        for tissue, mass_ml in zip((before, after), (first, taken), strict=True):
            tissue.ravel()[_lesion(anatomy, (WM, GM), case.place, mass_ml)] = 0
        return before, after
    if case.core_ml is None:
        return before, before
    lesion = _lesion(anatomy, (WM, GM), case.place, case.lesion_ml)
    before.ravel()[lesion] = 0
    after = before.copy()
    for tissue, core_ml in zip((before, after), case.core_ml, strict=True):
        tissue.ravel()[lesion[: round(core_ml * 1000)]] = 1
    return before, after


def _lesion(anatomy: Anatomy, within: tuple[int, ...], place: Place, volume_ml: float) -> NDArray[np.intp]:
    """Flat indices of uneven balls of this volume at a place, from their centres outwards."""
    centres: Array = np.array([centre - anatomy.origin for centre in centres_at(anatomy, place)])
    return uneven_ball(np.isin(anatomy.classes, within), centres)[: round(volume_ml * 1000)]


def centres_at(anatomy: Anatomy, place: Place) -> list[Array]:
    """RAS positions in mm of the lesions at a place of the right half of the brain, or of both halves.

    The white matter must lie at a certain distance from the ventricles and from the brain's surface; of what
    remains, the place with most white matter around it is taken. Raises LongimorphError when nothing remains.
    """
    if place == "deep":
        return [np.asarray(anatomy.lesion_centre)]
    brain = ndimage.binary_closing(anatomy.classes != brains.BACKGROUND, iterations=4)
    away = ndimage.distance_transform_edt(anatomy.classes != VENTRICLES)
    depth = ndimage.distance_transform_edt(brain)
    white = ndimage.gaussian_filter((anatomy.classes == WM).astype(np.float32), 4.0)
    middle = np.argwhere(anatomy.widening).mean(axis=0)
    right = (np.arange(len(white)) > middle[0] + 10)[:, None, None]
    if place == "cortex":
        white[~((depth >= 10) & (depth <= 14) & (away >= 25) & right)] = -1
    else:
        white[~((away >= 6) & (away <= 10) & (depth >= 20))] = -1
        white[:, :, : round(middle[2])] = -1
        white[~np.broadcast_to(right | (place == "periventricular"), white.shape)] = -1
    found = []
    for _ in range(4 if place == "periventricular" else 1):
        best = np.array(np.unravel_index(int(white.argmax()), white.shape))
        if white[tuple(best)] <= 0:
            raise LongimorphError(
                f"The anatomy has no place of the kind '{place}' for a lesion; use another one."
            )
        found.append(best + anatomy.origin)
        offset = np.indices(white.shape) - best[:, None, None, None]
        white[(offset**2).sum(axis=0) < _SPACED_MM**2] = -1
    return found


def _flow(anatomy: Anatomy, case: PhantomCase, before: NDArray[np.int8]) -> tuple[WideningFlow | None, float]:
    if case.mass_ml:
        mass, classes = before == 0, anatomy.classes.copy()
        classes[mass] = brains.OEDEMA  # the mass itself does not give way
        if case.infiltrated is None:
            flow = flows.pushing(mass, classes, _AROUND_MASS)
        else:
            flow = flows.displacing(mass, classes)
        first, last = case.mass_ml
        pushed = (1 - (case.infiltrated or 0)) * (last - first)
        return flow, flows.time_to_grow(flow, mass, 1 + pushed / first)
    if case.ventricles != 1.0:
        flow = flows.build(anatomy)
        return flow, flows.time_to_grow(flow, anatomy.classes == VENTRICLES, case.ventricles)
    return None, 0.0
