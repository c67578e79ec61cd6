"""The jobs of a sweep: its registrations, their settings, and their resource requests."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longimorph.errors import LongimorphError
from longimorph.orchestration.parameters import Jobs, UnknownName, fingerprint, pair_row
from longimorph.orchestration.resources import Needs
from longimorph.study.study import Study
from longimorph.study.sweep import Combination, Sweep

FOLDER = "results/sweep"


class NoSweep(LongimorphError):
    """A sweep was requested but the configuration does not define one."""

    def __init__(self) -> None:
        super().__init__(
            "The configuration has no 'sweep' with the pairs and the settings to vary; see docs/running.md."
        )


@dataclass(frozen=True)
class SweepJobs:
    """The registrations of a study's sweep by combination and pair."""

    study: Study

    @property
    def sweep(self) -> Sweep:
        """The sweep; raises NoSweep."""
        if self.study.sweep is None:
            raise NoSweep
        return self.study.sweep

    @cached_property
    def _combinations(self) -> dict[str, Combination]:
        return {combination.name: combination for combination in self.sweep.combinations}

    def combination(self, name: str) -> Combination:
        """Return a combination by name."""
        if name not in self._combinations:
            raise UnknownName("combination in its sweep called", name, tuple(self._combinations))
        return self._combinations[name]

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings that the registrations of a combination depend on, and the stage's version."""
        return {**Jobs(self.study).settings("register"), **self.combination(name).settings}

    def control_version(self, name: str) -> str:
        """Return the fingerprint of a combination's control matrix, and of which classes are pathologies."""
        ill = list(self.study.classes.pathological)
        return fingerprint([self.combination(name).matrix.tolist(), ill])

    def needs(self, name: str) -> Needs:
        """Return the resource requests of a combination's jobs."""
        chosen = self.combination(name).settings.items()
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in chosen}
        return Needs(dataclasses.replace(self.study, config=dataclasses.replace(self.study.config, **values)))

    def results(self) -> list[str]:
        """Return the files that every registration produces."""
        return [
            f"{FOLDER}/{combination.name}/{pair.patient}/{pair.name}/{name}"
            for combination in self.sweep.combinations
            for pair in self.sweep.pairs
            for name in ("status.json", "changes.csv")
        ]

    def pairs(self) -> list[dict[str, Any]]:
        """Return the pairs' names and days."""
        return [pair_row(pair) for pair in self.sweep.pairs]

    def combinations(self) -> list[dict[str, Any]]:
        """Return each combination's name and its settings as text."""
        return [{"name": c.name, "settings": dict(c.texts)} for c in self.sweep.combinations]


def controls(study: Study) -> dict[str, str]:
    """Return the source of each combination's control matrix; for the jobs, but not a parameter."""
    return {c.name: c.control for c in study.sweep.combinations} if study.sweep else {}
