"""The jobs of a study, and what the result of each depends on.

Snakemake repeats a job whenever one of its parameters changes. A job therefore receives only the settings
that its stage uses, fingerprints instead of whole tables, and a version that is raised when the stage's
results change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.io.contents import content
from longimorph.paths import display
from longimorph.study.config import REGISTRATION
from longimorph.study.further import ICV
from longimorph.study.pairs import LEAST_REPEATS, Pair
from longimorph.study.study import Study
from longimorph.study.suggest import did_you_mean
from longimorph.study.table import Visit

VERSIONS = {
    "align": 2,
    "maps": 2,
    "register": 11,
    "figure": 3,
    "lesions": 1,
    "tables": 7,
    "report": 9,
    "template": 1,
    "group": 1,
}
"""Raise a stage's number when the same inputs give other results: its jobs and all later ones run again."""

SETTINGS = {
    "align": ("reference", "spacing_mm", "margin_mm", "align"),
    "maps": ("smoothing_mm", "floor"),
    "register": (*REGISTRATION, "compared_min", "smoothing_mm"),
    "group": ("template_smoothing_mm",),
}
"""The settings that the results of each stage depend on; device and threads are not among them."""

LOGS = "results/logs"


class UnknownName(LongimorphError):
    """The requested patient, visit or pair is not part of the study."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        hint = did_you_mean(name, known)
        super().__init__(f"The study has no {kind} '{name}'." + (f" {hint}" if hint else ""))


@dataclass(frozen=True)
class Jobs:
    """The jobs of a study by patient, visit and pair, and their parameters."""

    study: Study

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """The patients with at least one pair."""
        return tuple(self._pairs)

    @cached_property
    def aligned(self) -> tuple[str, ...]:
        """The patients with at least one registration: of a pair, or of a repeat of a visit."""
        return tuple(dict.fromkeys((*self.patients, *(pair.patient for pair in self.repeats))))

    @property
    def repeats(self) -> tuple[Pair, ...]:
        """The pairs of a visit and its repeat."""
        return self.study.plan.repeats

    @property
    def floors_measured(self) -> bool:
        """Whether there are enough repeats to measure the noise floor."""
        return len(self.repeats) >= LEAST_REPEATS

    @cached_property
    def _pairs(self) -> dict[str, dict[str, Pair]]:
        pairs: dict[str, dict[str, Pair]] = {}
        for pair in self.study.plan.pairs:
            pairs.setdefault(pair.patient, {})[pair.name] = pair
        return pairs

    def pairs_of(self, patient: str) -> tuple[Pair, ...]:
        """Return the pairs of one patient."""
        if patient not in self._pairs:
            raise UnknownName("patient with at least two visits called", patient, self.patients)
        return tuple(self._pairs[patient].values())

    def pair(self, patient: str, name: str) -> Pair:
        """Return the pair, or pair of a visit and its repeat, called ``<from>__<to>``."""
        known = {pair.name: pair for pair in self.repeats if pair.patient == patient}
        known |= self._pairs.get(patient, {})
        if not known:
            self.pairs_of(patient)
        if name not in known:
            raise UnknownName(f"pair of {patient} called", name, tuple(known))
        return known[name]

    def scans_of(self, patient: str) -> tuple[Visit, ...]:
        """Return the visits of one patient, earliest first, and after them their repeats."""
        if patient not in self.study.cohort.patients():
            raise UnknownName("patient called", patient, self.study.cohort.patients())
        return self.study.cohort.scans_of(patient)

    def visits_of(self, patient: str) -> tuple[Visit, ...]:
        """Return the visits of one patient, earliest first, without repeats."""
        return tuple(visit for visit in self.scans_of(patient) if not visit.repeat_of)

    def visit(self, patient: str, timepoint: str) -> Visit:
        """Return one visit or repeat by name."""
        visits = {visit.timepoint: visit for visit in self.scans_of(patient)}
        if timepoint not in visits:
            raise UnknownName(f"visit of {patient} called", timepoint, tuple(visits))
        return visits[timepoint]

    def settings(self, stage: str) -> dict[str, Any]:
        """Return the settings that the stage's results depend on, and the stage's version."""
        values = dataclasses.asdict(self.study.config)
        return {**{key: _plain(values[key]) for key in SETTINGS[stage]}, "version": VERSIONS[stage]}

    @cached_property
    def labels_version(self) -> str:
        """Fingerprint of the mapping from labels to classes; it excludes display names and colours."""
        rows = self.study.classes.rows
        channels = [row.channels for row in rows]
        named = [channels] if any(channels) else []
        return fingerprint([(row.name, row.regions, row.states) for row in rows] + named)

    @cached_property
    def template_files(self) -> list[str]:
        """Return the template and the mask of its brain, as far as the study has them."""
        config = self.study.config
        known = (config.template, config.template_mask) if config.template is not None else ()
        return [display(path) for path in known if path is not None]

    @cached_property
    def template_version(self) -> list[str | None]:
        """Return the hashes of the template and of its mask; reads the files."""
        return [content(name).sha256 for name in self.template_files]

    @cached_property
    def control_version(self) -> str:
        """Fingerprint of the control matrix, and of which of its classes are pathologies."""
        return fingerprint([self.study.control.tolist(), list(self.study.classes.pathological)])

    @cached_property
    def colors_version(self) -> str:
        """Fingerprint of the colours of the figures."""
        return fingerprint(self.study.classes.colors)

    @cached_property
    def class_names(self) -> list[dict[str, str]]:
        """Each class with the names of its region and its state, for the marginal tables."""
        rows = self.study.classes.rows
        return [{"class": row.name, "region": row.region, "state": row.state} for row in rows]

    def planned(self) -> list[dict[str, Any]]:
        """Return names and days of every pair."""
        return [pair_row(pair) for pair in self.study.plan.pairs]

    def visit_rows(self, patient: str) -> list[dict[str, Any]]:
        """Return name and days of a patient's visits, and the intracranial volume if the table has it."""
        given = self.study.cohort.gives_icv
        return [
            {"timepoint": v.timepoint, "days": v.days, **({ICV: v.icv_mm3} if given else {})}
            for v in self.visits_of(patient)
        ]

    def further_cells(self) -> dict[str, dict[str, list[str]]]:
        """Return the cells of the further columns of the cohort table, by patient and visit."""
        return {p: {v.timepoint: list(v.further) for v in self.visits_of(p)} for p in self.patients}

    def left_out(self) -> list[dict[str, str]]:
        """Return the excluded patients, with the reason."""
        return [{"patient": p.patient, "reason": p.reason} for p in self.study.plan.left_out]


def logged(pair: Pair) -> dict[str, Any]:
    """Return the pair's names, the days between its visits, and the logs that can explain a failure."""
    return {**pair_row(pair), "logs": log_files(pair)}


def log_files(pair: Pair) -> dict[str, str]:
    """Return the logs that can explain a pair's failure, by stage, or by ``stage:timepoint``."""
    folder = f"{LOGS}/{pair.patient}"
    logs = {"align": f"{folder}/align.log", "register": f"{folder}/register_{pair.name}.log"}
    for visit in (pair.source, pair.target):
        logs[f"maps:{visit.timepoint}"] = f"{folder}/maps_{visit.timepoint}.log"
    return logs


def files(visits: Sequence[Visit]) -> list[str]:
    """Return the image and label files of ``visits``, relative to the working folder when inside it."""
    return [display(path) for visit in visits for path in visit.all_files()]


def visit_record(visit: Visit) -> dict[str, Any]:
    """Return the record of a visit for a job. The date is omitted, since no map depends on it."""
    paths: dict[str, str | None] = dict.fromkeys(("image", "regions", "states"))
    paths |= {name: display(path) for name, path in visit.files().items()}
    return {"patient": visit.patient, "timepoint": visit.timepoint, **paths}


def pair_record(pair: Pair) -> dict[str, Any]:
    """Return the record of a pair for a registration."""
    visits = {"source": visit_record(pair.source), "target": visit_record(pair.target)}
    return {"patient": pair.patient, "from": pair.source.timepoint, "to": pair.target.timepoint, **visits}


def pair_row(pair: Pair) -> dict[str, Any]:
    """Return the pair's names and the days between its visits."""
    names = {"patient": pair.patient, "from": pair.source.timepoint, "to": pair.target.timepoint}
    return {**names, "days": pair.days}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def fingerprint(value: object) -> str:
    """Return a short text that differs where ``value`` does."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
