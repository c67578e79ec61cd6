"""How far a run got, read from the files of the study."""

from __future__ import annotations

import json
from pathlib import Path

from longimorph.cohort.pairs import Pair
from longimorph.cohort.study import Study

_TABLES = ("changes.csv", "transitions.csv", "marginals_by_region.csv", "marginals_by_state.csv")


def closing(study: Study, results: Path = Path("results")) -> str:
    """Return the last words of a run: how many pairs are done, where the tables are, what failed."""
    states = [_pair_state(results, pair) for pair in study.plan.pairs]
    done, failed = states.count("ok"), sum(state not in ("ok", "") for state in states)
    counts = [f"{done} of {len(states)} pairs done"]
    counts += [f"{failed} failed"] if failed else []
    missing = states.count("")
    counts += [f"{missing} not reached"] if missing else []
    lines = [f"longimorph: {', '.join(counts)}."]
    cohort = results / "cohort"
    if (cohort / "changes.csv").exists() and not missing:
        lines.append(f"  tables of the cohort: {cohort}/ ({', '.join(_TABLES)})")
        lines += [f"  why pairs failed:     {cohort / 'failures.csv'}"] if failed else []
    lines.append(f"  one folder per patient: {results / 'patients'}/")
    if study.plan.left_out:
        lines.append(f"  {len(study.plan.left_out)} patients without a pair: {cohort / 'pairs.csv'}")
    return "\n".join(lines)


def _pair_state(results: Path, pair: Pair) -> str:
    """Return the pair's status, empty when there is none yet."""
    path = results / "patients" / pair.patient / pair.name / "status.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError):
        return ""
