"""The report page of one patient."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from longimorph.report import (
    bars,
    closure,
    convergence,
    courses,
    flows,
    lesions,
    paging,
    pairs,
    pictures,
    timeline,
    verdict,
    volumes,
)
from longimorph.report.page import Builder, viewer_library, viewer_licence, write_page
from longimorph.report.pairs import PairResults
from longimorph.study.classes import BACKGROUND, ClassTable
from longimorph.tables import columns
from longimorph.text import counted
from longimorph.verdict.status import PairStatus

_PICTURES_BYTES, _VOLUMES_BYTES = 3_500_000, 9_000_000

_QUALITY = {
    "driver": ("driven by", ""),
    "rotation_deg": ("rotation", "°"),
    "translation_mm": ("translation", "mm"),
    "overlap": ("overlap of the brains", ""),
    "dice_before": ("Dice of the classes before alignment", ""),
    "dice_after": ("and after it", ""),
    "correlation_before": ("correlation of the images before alignment", ""),
    "correlation_after": ("and after it", ""),
    "inverse_consistency_mm": ("the two directions of alignment disagree by", "mm"),
}


@dataclass(frozen=True)
class PatientResults:
    """A patient's visits (name → days), pairs with their logs, and the outcome of each visit."""

    name: str
    days: Mapping[str, float]
    pairs: tuple[PairResults, ...]
    logs: tuple[str, ...]
    visits: Mapping[str, Mapping[str, Any]]
    folder: Path

    @property
    def failed_visits(self) -> dict[str, str]:
        """Visits without maps, with the reason."""
        return {
            name: str(record.get("message") or record["status"])
            for name, record in self.visits.items()
            if record.get("status") != "ok"
        }


@dataclass(frozen=True)
class _Page:
    """One of a patient's pages: its number from 1, its file, and the indices of its pairs."""

    number: int
    out: Path
    pairs: range


def patient_report(
    patient: str,
    days: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
    classes: ClassTable,
    command: str,
    folder: Path,
    out: Path,
) -> None:
    """Write the page ``out`` from the results in ``folder``; with many pairs, further pages beside it.

    ``days``: visit → days; ``rows``: ``from``, ``to``, ``days`` and ``log`` of each pair; ``command``
    reproduces the patient's results. A part that cannot be drawn is replaced by a sentence. ``out`` is
    written last and lists the problems of all pages.
    """
    known = load_patient_results(patient, days, rows, classes, folder)
    for file in out.parent.glob(f"{out.stem}_[0-9]*{out.suffix}"):
        file.unlink()  # left by a run with more pairs
    pages = _pages(known, out)
    problems: list[str] = []
    for page in reversed(pages):
        problems = _write(page, pages, known, classes, command, problems)


def _pages(patient: PatientResults, out: Path) -> list[_Page]:
    """The pages over which the pairs are evenly distributed; a single one for few pairs."""
    return [
        _Page(number, out.with_name(paging.name(number)), span)
        for number, span in enumerate(paging.spans(len(patient.pairs)), 1)
    ]


def _write(
    page: _Page,
    pages: Sequence[_Page],
    patient: PatientResults,
    classes: ClassTable,
    command: str,
    problems: Sequence[str],
) -> list[str]:
    """Write one page, which also lists the ``problems`` of later pages; return them and its own."""
    build = Builder()
    own = [patient.pairs[index] for index in page.pairs]
    shown = build.part("The volume viewer", volumes.pack, own, patient.days, patient.folder, classes,
                       _VOLUMES_BYTES)  # fmt: skip
    packed = shown if isinstance(shown, volumes.Packed) else None
    spots = {pair["name"]: pair["focus"] for pair in packed.data["pairs"]} if packed else {}
    single = build.part("The table of lesions", lesions.sections, patient.folder)
    sections = [_section(build, index, patient, classes, len(own), spots) for index in page.pairs]
    for section in sections:
        pair = section["pair"]
        section["lesions"] = single.get((pair.source, pair.target)) if isinstance(single, dict) else single
    first = _first_part(build, pages, patient, classes) if page.number == 1 else {}
    found = [*build.problems, *problems]
    write_page(
        page.out,
        "patient.html",
        ["volumes.js", "viewer.js", "patient.js"] if packed else ["patient.js"],
        patient=patient,
        page=page,
        pages=pages,
        pairs=sections,
        packed=packed,
        no_viewer=None if packed else shown,
        floors=_floors(patient.folder),
        library=viewer_library() if packed else "",
        licence=viewer_licence(),
        provenance=_provenance(patient, command),
        problems=found,
        **first,
    )
    return found


def _first_part(
    build: Builder, pages: Sequence[_Page], patient: PatientResults, classes: ClassTable
) -> dict[str, Any]:
    """The content of the first page only: a summary of every pair, the visits, and the volumes over time."""
    return {
        "control": next((pair.control for pair in patient.pairs if pair.control), ""),
        "open": any(amount.open for pair in patient.pairs for amount in pair.amounts),
        "ill_classes": any(classes.pathological),
        "summary": [
            {**_in_short(patient.pairs[index], classes), "number": index + 1,
             "page": "" if page.number == 1 else page.out.name}
            for page in pages for index in page.pairs
        ],
        "timeline": build.part("The timeline", timeline.timeline, patient.days, patient.failed_visits,
                               patient.pairs),
        "courses": build.part("The volumes over time", _courses, patient, classes),
        "closure": build.part("The closure", closure.section, patient.folder, _inner_colors(classes)),
    }  # fmt: skip


def load_patient_results(
    patient: str,
    days: Mapping[str, float],
    rows: Sequence[Mapping[str, Any]],
    classes: ClassTable,
    folder: Path,
) -> PatientResults:
    """Read a patient's results."""
    file = folder / "changes.csv"
    changes = columns.read_table(file) if file.exists() else None
    found = tuple(
        pairs.load_pair_results(
            {"patient": patient, **row}, folder / f"{row['from']}__{row['to']}", classes.names, changes
        )
        for row in rows
    )
    visits = {name: json.loads((folder / name / "qc.json").read_text(encoding="utf-8")) for name in days}
    logs = tuple(str(row.get("log", "")) for row in rows)
    return PatientResults(
        patient, dict(sorted(days.items(), key=lambda item: item[1])), found, logs, visits, folder
    )


def _floors(folder: Path) -> str:
    """Where the noise floors of the patient's table come from; empty if it has none."""
    file = folder / "changes.csv"
    if not file.exists():
        return ""
    return next((str(source) for source in columns.read_table(file).get(columns.SOURCE, ()) if source), "")


def _in_short(pair: PairResults, classes: ClassTable) -> dict[str, Any]:
    """The summary of a pair: its verdict, changes of pathological classes, and other changes."""
    return {
        "pair": pair,
        "headline": pairs.headline(pair),
        "verdict": verdict.of(pair),
        "remarks": verdict.remarks(pair) if pair.status.verdict is not None else [],
        "illness": pairs.of_illness(pair, classes),
        "others": pairs.of_others(pair, classes),
    }


def _section(
    build: Builder,
    index: int,
    patient: PatientResults,
    classes: ClassTable,
    beside: int,
    spots: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The content of the template for one pair, one of ``beside`` on its page.

    ``spots``: where the slices of the pairs' figures intersect, mm.
    """
    pair = patient.pairs[index]
    what = f"of {pair.title}"
    colors = dict(zip(classes.names, classes.colors, strict=True))
    room = _PICTURES_BYTES // beside
    section: dict[str, Any] = {
        **_in_short(pair, classes),
        "number": index + 1,
        "log": patient.logs[index],
        "hidden": (pair.folder / "compared.nii.gz").exists(),
        "overview": build.part(f"The picture {what}", pictures.overview, pair.folder, room * 3 // 5),
        "aligned": build.part(f"The aligned visits {what}", pictures.aligned, pair, classes, room * 2 // 5,
                              spots.get(pair.name)),
        "quality": _quality(pair, patient),
    }  # fmt: skip
    if pair.ok:
        ribbons, rest = flows.flows_of(pair.flows, BACKGROUND)
        section |= {
            "bars": build.part(f"The bars {what}", bars.bars, pair.inner, colors),
            "flows": build.part(f"The flows {what}", flows.diagram, ribbons, classes.names, colors)
            if ribbons
            else None,
            "flows_rest": rest,
            "convergence": build.part(f"The convergence {what}", convergence.convergence, pair.convergence),
            "facts": facts(pair.status),
            "dice": _dice(pair.status, classes.names),
        }
    return section


def _courses(patient: PatientResults, classes: ClassTable) -> list[Any]:
    colors = dict(zip(classes.names, classes.colors, strict=True))
    inner = [name for name in classes.names if name != BACKGROUND]
    first = min(patient.days.values())
    found = courses.courses(patient.days, patient.pairs, inner)
    return [courses.panel(course, first, colors[course.name]) for course in found]


def _inner_colors(classes: ClassTable) -> dict[str, str]:
    """The colour of each class inside the brain."""
    colors = zip(classes.names, classes.colors, strict=True)
    return {name: color for name, color in colors if name != BACKGROUND}


def facts(status: PairStatus) -> list[tuple[str, str]]:
    """Quality measures of the registration, as pairs of name and value."""
    rows: list[tuple[str, str]] = []
    if status.stop_reason:
        rows.append(("Reason for stopping", status.stop_reason))
    if _known(status.drift):
        off = f"{100 * abs(status.drift):.2f} %"
        rows.append(("Drift of the energy along the path, which should be zero", off))
    if _known(status.folded_share):
        rows.append(("Voxels where the warp folds", f"{100 * status.folded_share:.3f} %"))
    if _known(status.inverse_consistency_mm):
        rows.append(("Inverse consistency error of the warp", f"{status.inverse_consistency_mm:.3f} mm"))
    before, after = status.mismatch_before_mm3, status.mismatch_after_mm3
    if _known(before) and _known(after):
        rows.append(("Mismatch before and after", f"{before:.0f} → {after:.0f} mm³"))
    if _known(status.seconds):
        evaluations = status.evaluations
        effort = f"{status.seconds:.0f} s"
        effort += f", {counted(evaluations, 'evaluation')}" if evaluations is not None else ""
        rows.append(("Effort", f"{effort}, {status.device or ''}, strategy {status.memory_strategy or ''}"))
    return rows


def _dice(status: PairStatus, classes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Overlap with the second visit per class, before and after the fit; absent classes are omitted."""
    before, after = status.dice_before or {}, status.dice_after or {}
    return [
        (name, _ratio(before.get(name)), _ratio(after.get(name)))
        for name in classes
        if _known(before.get(name)) or _known(after.get(name))
    ]


def _quality(pair: PairResults, patient: PatientResults) -> list[dict[str, Any]]:
    """Quality of the alignment of the pair's two visits."""
    rows = []
    for name in (pair.source, pair.target):
        record = patient.visits.get(name, {})
        quality = record.get("alignment") or {}
        said = [f"{words} {_said(quality[key])}{unit if unit == '°' else f' {unit}' if unit else ''}"
                for key, (words, unit) in _QUALITY.items() if quality.get(key) is not None]  # fmt: skip
        rows.append({"visit": name, "said": said, "failed": patient.failed_visits.get(name)})
    return rows


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _provenance(patient: PatientResults, command: str) -> dict[str, Any]:
    """Provenance of the results: settings of the first pair that has any, and versions used.

    It includes hashes of the visits' files and of their maps.
    """
    done = [pair.status for pair in patient.pairs if pair.status.versions]
    inputs = [record.get("inputs_sha256") for record in patient.visits.values()]
    inputs += [status.inputs_sha256 for status in done]
    hashes = {key: value for files in inputs for key, value in (files or {}).items()}
    return {
        "command": command,
        "versions": dict(done[0].versions or {}) if done else {},
        "settings": dict(done[0].settings or {}) if done else {},
        "control": done[0].control if done else None,
        "hashes": hashes,
    }


def _known(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _ratio(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "none"
