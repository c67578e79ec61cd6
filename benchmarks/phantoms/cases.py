"""Cases with known truth: what happens to a brain between two visits, on any anatomy.

Tissue moves by a flow, or turns into another class in place, or both; `course` says what is true then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longimorph.demo import anatomy as brains
from longimorph.demo import flow as flows
from longimorph.demo.anatomy import CLASSES, COLORS, GM, REGION_LABELS, THALAMUS, VENTRICLES, WM, Anatomy
from longimorph.demo.course import Array, Truth, split, uneven_ball
from longimorph.demo.flow import Field, WideningFlow
from longimorph.study.classes import BACKGROUND as BACKGROUND_NAME
from longimorph.study.classes import HEALTHY, ClassRow, ClassTable

_OEDEMA, _MASS, _RING = ("oedema",), ("mass",), ("enhancing", "necrosis")
_STATE_COLORS = {"oedema": COLORS["oedema"], "mass": "#D55E00", "enhancing": "#D55E00", "necrosis": "#009E73"}
_AROUND_MASS = {WM: 1.0, GM: 0.25, THALAMUS: 1.0, VENTRICLES: 2.0}

Volumes = tuple[float, float]


@dataclass(frozen=True)
class PhantomCase:
    """What changes between two visits.

    ``ventricles``: factor by which they widen. ``mass_ml``: volumes of a mass at both visits, which grows by
    pushing. ``oedema_ml``: white matter that is oedema at both visits, measured before anything moves.
    ``core_ml``: volumes of the necrotic core of an enhancing lesion of ``lesion_ml``, of which the ring turns
    into core. ``pathologies`` are the classes beside those of the anatomy, ``preset`` the control matrix that
    suits the case; with ``others`` it is measured too, for comparison.
    """

    ventricles: float = 1.0
    oedema_ml: Volumes | None = None
    mass_ml: Volumes | None = None
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
}
"""Every case of the benchmark."""
ALIASES = {"ventricles": PhantomCase(ventricles=1.37), "oedema": CASES["oedema15"]}
"""Further names: what happens to the patients of the demo."""


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
    """The case of this name. Raises KeyError with the known names."""
    known = CASES | ALIASES
    if case not in known:
        raise KeyError(f"there is no case '{case}'; there are: {', '.join(known)}")
    return known[case]


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
            tissue.ravel()[_ball(anatomy, (WM,), oedema_ml)] = 0
        return before, after
    if case.mass_ml:
        before.ravel()[_ball(anatomy, (WM, GM), case.mass_ml[0])] = 0
    if case.core_ml is None:
        return before, before
    lesion = _ball(anatomy, (WM, GM), case.lesion_ml)
    before.ravel()[lesion] = 0
    after = before.copy()
    for tissue, core_ml in zip((before, after), case.core_ml, strict=True):
        tissue.ravel()[lesion[: round(core_ml * 1000)]] = 1
    return before, after


def _ball(anatomy: Anatomy, within: tuple[int, ...], volume_ml: float) -> NDArray[np.intp]:
    """Flat indices of an uneven ball of this volume at the anatomy's lesion, from its centre outwards."""
    centre: Array = np.asarray(anatomy.lesion_centre) - anatomy.origin
    return uneven_ball(np.isin(anatomy.classes, within), centre)[: round(volume_ml * 1000)]


def _flow(anatomy: Anatomy, case: PhantomCase, before: NDArray[np.int8]) -> tuple[WideningFlow | None, float]:
    if case.mass_ml:
        mass, classes = before == 0, anatomy.classes.copy()
        classes[mass] = brains.OEDEMA  # the mass itself does not give way
        flow = flows.pushing(mass, classes, _AROUND_MASS)
        return flow, flows.time_to_grow(flow, mass, case.mass_ml[1] / case.mass_ml[0])
    if case.ventricles != 1.0:
        flow = flows.build(anatomy)
        return flow, flows.time_to_grow(flow, anatomy.classes == VENTRICLES, case.ventricles)
    return None, 0.0
