"""The files at the root of an exported data set that say what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import longimorph
from longimorph.bids.derived_tables import FOLDER
from longimorph.bids.named import Named
from longimorph.bids.results import StudyResults
from longimorph.text import counted

BIDS_VERSION = "1.11.1"
NAME = "Deformation and reallocation between MRI visits"
IGNORED = ("*_xfm.*", "*_map.*", FOLDER)
"""What BIDS has no name for yet: transforms, maps of change, the tables of the results."""


def root_files(study: StudyResults, patients: Sequence[Named], lacking: Sequence[str]) -> dict[str, str]:
    """Return the description of the data set, its README and what validators are to ignore, by path.

    ``lacking``: a line on everything that has no files.
    """
    lines = lacking or ["Nothing is missing."]
    generated = [{"Name": "longimorph", "Version": version} for version in _versions(patients)]
    description: dict[str, Any] = {
        "Name": NAME,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": generated,
    }
    if sources := source_datasets(study.folder.parent, patients):
        description["SourceDatasets"] = sources
    return {
        "dataset_description.json": json.dumps(description, indent=2, ensure_ascii=False) + "\n",
        "README.md": _readme() + "".join(f"- {line}\n" for line in lines),
        ".bidsignore": "".join(f"{pattern}\n" for pattern in IGNORED),
    }


def _readme() -> str:
    """The README up to the list of what is missing."""
    return resources.files(__package__).joinpath("dataset.md").read_text(encoding="utf-8")


def missing(study: StudyResults, patients: Sequence[Named]) -> list[str]:
    """Return a line on each patient, visit and pair of the study without files."""
    lines = [line for named in patients for line in _failures(named)]
    lines += [f"patient {name} of the study {reason}" for name, reason in study.left_out.items()]
    have = {named.patient.name for named in patients}
    rest = [*(name for name in study.patients if name not in have), *study.unfinished]
    return lines + [f"patient {name} of the study is not exported yet" for name in rest]


def _failures(named: Named) -> Iterator[str]:
    """A line on each visit and pair of a patient that failed."""
    for visit in named.patient.visits:
        if not visit.ok:
            code = visit.record["status"]
            yield f"sub-{named.label} ses-{named.visits[visit.name]}: the visit failed ({code})"
    for pair in named.patient.pairs:
        if not pair.status.ok:
            names = f"ses-{named.visits[pair.source]} to ses-{named.visits[pair.target]}"
            yield f"sub-{named.label} {names}: the pair failed ({pair.status.status})"


def source_datasets(work: Path, patients: Iterable[Named]) -> list[dict[str, str]]:
    """Return the DOI of every BIDS data set that holds an input of the study and states one."""
    folders = {
        (work / name).parent
        for named in patients
        for visit in named.patient.visits
        for name in visit.record.get("inputs_sha256") or ()
    }
    known: dict[Path, str | None] = {}
    found = {doi for folder in sorted(folders) if (doi := _doi(folder, known)) is not None}
    return [{"DOI": doi} for doi in sorted(found)]


def _doi(folder: Path, known: dict[Path, str | None]) -> str | None:
    """The DOI of the nearest data set around a folder; ``known``: of the folders looked at before."""
    if folder not in known:
        file = folder / "dataset_description.json"
        if file.is_file():
            known[folder] = _stated(file)
        else:
            known[folder] = _doi(folder.parent, known) if folder != folder.parent else None
    return known[folder]


def _stated(file: Path) -> str | None:
    try:
        doi = json.loads(file.read_text(encoding="utf-8")).get("DatasetDOI")
    except (OSError, ValueError, AttributeError):
        return None
    return doi if isinstance(doi, str) and doi else None


def _versions(patients: Iterable[Named]) -> list[str]:
    """The versions of longimorph that made the results, and this one."""
    made = {
        (pair.status.versions or {}).get("longimorph", longimorph.__version__)
        for named in patients
        for pair in named.patient.pairs
    }
    return sorted(made | {longimorph.__version__})


def summary(patients: Sequence[Named]) -> str:
    """Return how much is exported, in words."""
    visits = sum(visit.ok for named in patients for visit in named.patient.visits)
    pairs = sum(pair.status.ok for named in patients for pair in named.patient.pairs)
    return f"{counted(len(patients), 'patient')}, {counted(visits, 'visit')}, {counted(pairs, 'pair')}"
