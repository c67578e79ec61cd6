"""A BIDS derivatives data set from the results of a study.

Every file is complete or absent. A second export writes only what changed since the first, and one that was
interrupted goes on with the visit or pair at which it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longimorph.bids import dataset, derived_tables, pair_files, visit_files
from longimorph.bids.choose import listed
from longimorph.bids.derived_tables import Further
from longimorph.bids.labels import labels
from longimorph.bids.named import Named
from longimorph.bids.record import PatientRecord, Target, stamps, write_changed
from longimorph.bids.results import StudyResults, find_study, read_patient
from longimorph.errors import LongimorphError, Unusable
from longimorph.io.atomic import write_text
from longimorph.paths import display
from longimorph.text import counted


@dataclass
class Exported:
    """What an export did: its size in words, and numbers of files written and removed.

    ``notes``: what has no files, for a reason that the results give; ``problems``: what should have files,
    but a file of the results is missing or damaged, or the run of the patient has not ended.
    """

    size: str = ""
    written: int = 0
    removed: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def export(results: Path, root: Path, names: Sequence[str] = (), suffix: str = "T1w") -> Exported:
    """Export the patients called ``names``, all for none, from ``results`` to the folder ``root``.

    ``suffix``: that of scans whose own names have none of BIDS. Raises LongimorphError when there is nothing
    to export or ``root`` holds anything else, and InputError for names that the results do not have.
    """
    study = find_study(results)
    chosen = study.chosen(names)
    if not chosen:
        hint = "longimorph status shows how far the run is."
        raise LongimorphError(f"{display(results)} has no finished patient to export. {hint}")
    target, done = Target(root, results), Exported()
    if study.whole and not names:
        done.removed += _drop(target, study)
    target.labels |= labels(study.named(), "sub-", target.labels)
    target.save()
    further = derived_tables.read_further(results)
    for name in chosen:
        with _noting(done, f"patient {name}"):
            _export_patient(target, _named(target, study, name, suffix), further, done)
    _finish(target, study, suffix, further, done)
    if not names:
        done.problems += [f"patient {name}: the run has not ended" for name in study.unfinished]
    return done


def _drop(target: Target, study: StudyResults) -> int:
    """Remove the patients that are no longer in the study; return the number of files removed."""
    removed = 0
    for name in set(target.labels) - set(study.patients) - set(study.unfinished):
        record = target.patient(target.labels.pop(name))
        removed += record.keep(())
        record.forget()
    return removed


def _named(target: Target, study: StudyResults, name: str, suffix: str) -> Named:
    label = target.labels[name]
    return Named.of(read_patient(study.patients[name]), label, target.patient(label).labels, suffix)


def _export_patient(target: Target, named: Named, further: Further, done: Exported) -> None:
    record = target.patient(named.label)
    visits = {visit.name: visit for visit in named.patient.visits if visit.ok}
    pairs = {f"{pair.source}__{pair.target}": pair for pair in named.patient.pairs if pair.status.ok}
    done.removed += record.keep([*visits, *pairs, "sessions.tsv"])
    record.labels = dict(named.visits)
    for name, visit in visits.items():
        own = stamps(visit.folder / file for file in visit_files.SOURCES)
        with _noting(done, f"patient {named.patient.name}, visit {name}"):
            files = visit_files.visit_files(named, visit)
            done.written += record.update(name, _key(named, own), files)
    for name, pair in pairs.items():
        own = stamps(pair.folder / file for file in pair_files.SOURCES)
        with _noting(done, f"patient {named.patient.name}, pair {name}"):
            files = pair_files.pair_files(named, pair)
            done.written += record.update(name, _key(named, own), files)
    _export_sessions(record, named, further, done)


def _export_sessions(record: PatientRecord, named: Named, further: Further, done: Exported) -> None:
    for name, text in derived_tables.sessions(named, further).items():
        files = {name: lambda path, text=text: write_text(path, text)}
        done.written += record.update("sessions.tsv", {"text": text}, files)


def _key(named: Named, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Everything on which the files of a visit or a pair depend."""
    values = [named.label, named.visits, named.classes, named.suffix, [v.ok for v in named.patient.visits]]
    return {"names": values, "from": sources}


def _finish(target: Target, study: StudyResults, suffix: str, further: Further, done: Exported) -> None:
    """Write the files of the whole data set, on all patients that it has."""
    patients, broken = [], []
    for name in study.patients:
        if name in target.exported():
            with _noting(done, f"patient {name}"):
                patients.append(_named(target, study, name, suffix))
                broken += [f"sub-{patients[-1].label}, {unit}: incomplete" for unit in _broken(target, name)]
    lacking = [*dataset.missing(study, patients), *broken]
    files = dataset.root_files(study, patients, lacking) | derived_tables.participants(patients, further)
    files |= derived_tables.described_sessions(further)
    with _noting(done, "tables"):
        files |= derived_tables.tables(patients)
    done.written += sum(write_changed(target.root / name, text) for name, text in files.items())
    done.size = dataset.summary(patients)
    done.notes += lacking
    done.problems = list(dict.fromkeys(done.problems))
    if renamed := [named.patient.name for named in patients if named.label != named.patient.name]:
        names = f"{counted(len(renamed), 'patient')} ({listed(renamed)})"
        done.notes.append(f"{names} with another name than in the study: participants.tsv has both")


def _broken(target: Target, name: str) -> list[str]:
    """The visits and pairs of a patient of which the results lack a file, or have a damaged one."""
    return target.patient(target.labels[name]).unfinished


@contextmanager
def _noting(done: Exported, what: str) -> Iterator[None]:
    """Note what of the results is missing or damaged, and go on with the rest."""
    try:
        yield
    except Unusable as found:
        done.problems.append(f"{what}: {found.message}")
    except FileNotFoundError as found:
        done.problems.append(f"{what}: {display(found.filename or '')} is missing; run the patient again")
    except (ValueError, KeyError) as found:
        text = " ".join(str(found).split())
        done.problems.append(f"{what}: a file of the results is damaged ({text}); run the patient again")
