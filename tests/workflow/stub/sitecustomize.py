"""Replaces the real steps by steps that only write their files.

A Python with this folder on its PYTHONPATH runs the workflow in seconds: the workflow is what is tested.
"""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

CLASSES = ["oedema", "WM", "ventricles", "background"]


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def align(
    patient: str, visits: list[dict[str, Any]], classes: str, out: Path, settings: dict[str, Any]
) -> None:
    """Align nothing, and say which files were there to be aligned."""
    from longimorph.io.contents import hashes

    inputs = hashes(Path(visit[name]) for visit in visits for name in ("regions", "states") if visit[name])
    states = {visit["timepoint"]: {"status": "ok"} for visit in visits}
    _write(out / "alignment.json", {"patient": patient, "visits": states, "inputs_sha256": inputs})


def maps(visit: dict[str, Any], classes: str, alignment: Path, out: Path, settings: dict[str, Any]) -> None:
    """Fail for a scan of less than a hundred bytes, as the real step does for any that is cut off."""
    ok = Path(visit["regions"]).stat().st_size > 100
    failure = {"status": "unreadable", "stage": "maps", "timepoint": visit["timepoint"]}
    failure["message"] = "cut off (20×20×20)"
    done = {"status": "ok", "volumes_mm3": dict.fromkeys(CLASSES, 1000.0)}
    _write(out / "qc.json", done if ok else failure)


def register(
    pair: dict[str, Any], classes: str, control: str, source: Path, target: Path, out: Path, settings: Any
) -> None:
    """Find no change, or hand on the failure of a visit."""
    import numpy as np

    from longimorph import tables

    failed = [r for r in (json.loads(p.read_text()) for p in (source, target)) if r["status"] != "ok"]
    if failed:
        tables.write_failed_pair(out, pair, CLASSES, failed[0]["status"])
    else:
        zero, none = np.zeros(4), np.zeros((4, 4))
        nothing = tables.PairChanges(zero, zero, zero, zero, none, none, np.zeros((10, 4)))
        tables.write_pair(out, pair, CLASSES, nothing)
    _write(out / "status.json", failed[0] if failed else {"status": "ok"})
    (out / "convergence.csv").write_text("evaluation,cost\n")


def lesions(
    visits: list[dict[str, Any]], pairs: list[dict[str, Any]], classes: str, names: Any, out: Path
) -> None:
    """List none."""
    from longimorph.tables import columns, lesions

    lesions.write_lesions(columns.stack([], columns.LESIONS), names, out)


def figure(pair: dict[str, Any], classes: str, folder: Path) -> None:
    """Draw nothing."""
    (folder / "overview.png").write_bytes(b"")


def cohort_figure(table: Path, out: Path) -> None:
    """Draw nothing."""
    out.write_bytes(b"")


def patient_report(
    name: str, days: dict[str, float], pairs: list[dict[str, Any]], classes: str, command: str, out: Path
) -> None:
    """Write an empty page, or crash for the patient that CRASHING_PAGE names."""
    if os.environ.get("CRASHING_PAGE") == name:
        raise RuntimeError("a page that crashes")
    out.write_text("")


def template(
    patient: str, visits: list[str], classes: str, files: list[str], out: Path, threads: int
) -> None:
    """Register nothing, or fail for the patient that UNPLACED names."""
    failed = os.environ.get("UNPLACED") == patient
    failure = {"status": "template_overlap", "stage": "template", "message": "the brains do not overlap"}
    _write(out / "template.json", failure if failed else {"status": "ok"})


def group_maps(
    pairs: Any, classes: str, labels: Any, files: list[str], results: Path, out: Path, settings: Any
) -> None:
    """Write empty tables."""
    _write(out / "group.json", {"patients": list(pairs)})
    for name in ("registrations", "maps"):
        (out / f"{name}.csv").write_text("")
        (out / f"{name}.json").write_text("{}")


def group_report(classes: str, files: list[str], verdicts: Path, folder: Path, out: Path) -> None:
    """Write an empty page."""
    out.write_text("")


def cohort_report(classes: str, command: str, out: Path, group: Path | None = None) -> None:
    """Write empty pages; that of the cohort names the page of its maps."""
    out.write_text("" if group is None else group.name)
    out.with_name("administration.html").write_text("")


_STAGES = (
    *(align, maps, register, lesions, figure, cohort_figure, patient_report, cohort_report),
    *(template, group_maps, group_report),
)
for _function in _STAGES:
    _name = f"longimorph.stages.{_function.__name__}"
    _module = types.ModuleType(_name)
    setattr(_module, _function.__name__, _function)
    sys.modules[_name] = _module
