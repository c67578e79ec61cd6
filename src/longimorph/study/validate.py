"""All checks of the input before anything runs, including the scans.

User errors stop the run: problems of the configuration and the tables, missing files, labels without a class.
Defects of one scan are warnings, since the other scans can still be used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from longimorph.cores import usable_cores
from longimorph.errors import InputError, Problem
from longimorph.study import between, plausible, schemes, wildcards
from longimorph.study import study as studies
from longimorph.study.classes import ClassTable
from longimorph.study.scancache import ScanCache
from longimorph.study.scans import (
    ScanRemark,
    ScanReport,
    ScanWarning,
    check_labels,
    examine,
)
from longimorph.study.study import Settings, Study
from longimorph.study.table import Cohort, Visit

log = logging.getLogger(__name__)

_MOST_THREADS = 16
"""Each holds the labels of a visit; more would hardly be faster, because files are read from one disk."""
_MANY = 100
"""Number of visits from which reading the scans takes so long that the user is informed."""


@dataclass(frozen=True)
class Validated:
    """A study that can run, the visits whose scans will fail, notes, and remarks on usable scans.

    Notes require no action. ``by_wildcards``: the notes on labels that only a wildcard matched. ``reports``:
    one for each visit of the cohort, in the same order.
    """

    study: Study
    warnings: tuple[ScanWarning, ...]
    notes: tuple[str, ...]
    remarks: tuple[ScanRemark, ...] = ()
    by_wildcards: tuple[str, ...] = ()
    reports: tuple[ScanReport, ...] = ()


def validate(
    settings: Settings,
    folder: Path | str | None = None,
    file: Path | str | None = None,
    cache: Path | None = None,
    threads: int | None = None,
) -> Validated:
    """Check every input file and every scan; raises InputError with all problems of all files.

    ``settings``, ``folder`` and ``file`` are as for ``study.load``. ``cache`` is a file that stores the
    reports on scans, so that only changed ones are read again. ``threads`` scans are read in parallel.
    """
    draft = studies.draft(settings, folder, file)
    problems = list(draft.problems)
    warnings: list[ScanWarning] = []
    reports: list[ScanReport] = []
    if draft.cohort is not None and draft.classes is not None:
        reports = scan_reports(draft.cohort.visits, draft.classes, cache, threads)
        findings = list(_findings(draft.cohort, draft.classes, reports))
        warnings = [finding for finding in findings if not isinstance(finding, Problem)]
        if strange := [finding for finding in findings if isinstance(finding, Problem)]:
            told = schemes.mismatches(draft.classes, reports)
            problems += strange + [Problem(draft.classes.name, text) for text in told]
    if problems:
        raise InputError(problems)
    study = draft.finish()
    remarks = _remarks(study.cohort, study.classes, reports)
    by_wildcards = tuple(_by_wildcards(study.classes, reports))
    numbers = [f"{study.classes.name}: {text}" for text in schemes.mismatches(study.classes, reports)]
    notes = (*_notes(study, reports), *numbers, *by_wildcards)
    return Validated(study, tuple(warnings), notes, tuple(remarks), by_wildcards, tuple(reports))


def scan_reports(
    visits: Sequence[Visit], classes: ClassTable, cache: Path | None = None, threads: int | None = None
) -> list[ScanReport]:
    """Return the report on each visit's scans, from the cache if the files have not changed."""
    kept = ScanCache(cache, _meaning_of_channels(classes))
    known = {visit: report for visit in visits if (report := kept.get(visit)) is not None}
    new = [visit for visit in dict.fromkeys(visits) if visit not in known]
    if len(new) >= _MANY:
        log.warning(
            "Reading the labels of %d new or changed visits; this takes a while, but only once", len(new)
        )
    try:
        with ThreadPoolExecutor(threads or min(_MOST_THREADS, usable_cores())) as pool:
            for visit, report in zip(new, pool.map(lambda one: examine(one, classes), new), strict=True):
                known[visit] = report
                kept.put(visit, report)
    finally:
        kept.save()
    return [known[visit] for visit in visits]


def _meaning_of_channels(classes: ClassTable) -> str:
    """Return a text that differs where the labels of channels may."""
    return repr([(row.name, row.regions, row.states, row.channels) for row in classes.rows])


def _findings(
    cohort: Cohort, classes: ClassTable, reports: Sequence[ScanReport]
) -> Iterable[Problem | ScanWarning]:
    for visit, report in zip(cohort.visits, reports, strict=True):
        yield from check_labels(visit, classes, cohort.name, report)


def _remarks(cohort: Cohort, classes: ClassTable, reports: Sequence[ScanReport]) -> Iterable[ScanRemark]:
    for visit, report in zip(cohort.visits, reports, strict=True):
        said = list(report.remarks)
        if report.counts is not None and report.extent is not None:
            said += plausible.remarks(classes, report.counts, report.extent)
            if visit.icv_mm3 is not None:
                said += plausible.intracranial(classes, report.counts, report.extent, visit.icv_mm3)
        yield from (ScanRemark(visit.patient, visit.timepoint, text) for text in said)
    read = {
        (visit.patient, visit.timepoint): report
        for visit, report in zip(cohort.visits, reports, strict=True)
        if report.counts is not None
    }
    for patient in cohort.patients():
        keys = ((visit, (visit.patient, visit.timepoint)) for visit in cohort.scans_of(patient))
        known = [(visit, read[key]) for visit, key in keys if key in read]
        laid_out = [(visit, report.layout) for visit, report in known if report.layout is not None]
        mixed = any(report.soft for _, report in known)
        kinds = between.kinds([visit for visit, _ in known]) if mixed else ()
        found = between.remarks(laid_out), kinds, between.vanished(cohort.visits_of(patient))
        yield from (ScanRemark(visit.patient, visit.timepoint, text) for visit, text in chain(*found))


def _by_wildcards(classes: ClassTable, reports: Sequence[ScanReport]) -> list[str]:
    """Return sentences on the labels of all scans that only wildcards of the table matched."""
    found = [
        wildcards.taken(classes, report.counts, report.extent.voxel_mm3)
        for report in reports
        if report.counts is not None and report.extent is not None
    ]
    return wildcards.sentences(wildcards.together(found))


def _notes(study: Study, reports: Sequence[ScanReport]) -> list[str]:
    """Return remarks: excluded patients, and classes that no scan contains."""
    notes = [f"{patient.patient} is left out: it {patient.reason}" for patient in study.plan.left_out]
    occurring: set[int] = set()
    for report in reports:
        if report.counts is not None:
            found = study.classes.classify(report.counts.regions, report.counts.states)
            occurring.update(found.tolist())
    empty = [name for index, name in enumerate(study.classes.names) if index not in occurring]
    if empty and any(report.counts is not None for report in reports):
        notes.append(f"No voxel of any scan belongs to {', '.join(empty)}; check that this is intended")
    return notes
