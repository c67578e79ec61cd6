"""Start of a workflow run: its configuration becomes a study, or a list of all problems."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from longimorph.errors import InputError, Problem
from longimorph.orchestration import contents, signals, terminal
from longimorph.orchestration.log import CONTEXT
from longimorph.orchestration.parameters import Jobs
from longimorph.orchestration.resources import Needs
from longimorph.orchestration.sweep import controls
from longimorph.study import inputs
from longimorph.study import study as studies
from longimorph.study.config import PATHS, located, located_in_sweep
from longimorph.study.names import RESERVED
from longimorph.study.scans import ScanRemark
from longimorph.study.study import Settings, Study
from longimorph.study.suggest import nearest
from longimorph.study.validate import validate
from longimorph.study.yamlfile import read_yaml
from longimorph.text import counted

SCAN_CACHE = Path(".snakemake", "longimorph", "scans.json")

CODE = "__use_yte__"
"""A configuration with this key is treated by Snakemake as a YTE template, which may contain code."""

PATIENT = "patient_"
"""Prefix of a patient's target."""

_MOST_REMARKS = 10
_MOST_NAMES = 5


def before_reading(file: str) -> None:
    """Refuse a configuration that Snakemake cannot read, or would execute as code; raises InputError."""
    if not Path(file).exists():
        return  # Snakemake says so
    content, source, problems = read_yaml(Path(file))
    if content and CODE in content:
        problems.append(source.problem(CODE, "would run code from the configuration", hint="Remove it"))
    if problems:
        raise InputError(problems)


def begin(workflow: Any, settings: dict[str, Any]) -> Study:
    """Return the study described by Snakemake's ``workflow`` object and its ``config``.

    Every input file is checked when a run is planned; single jobs and the linter only read the tables.
    Afterwards ``settings`` also holds the tables' paths and the command of the run, for the jobs. These are
    not parameters: moving tables without changing them repeats no computation. Raises InputError with all
    problems of all files.
    """
    files = [Path(file) for file in workflow.configfiles]
    overrides = dict(workflow.config_settings.config)
    source = source_of(settings, files, overrides)
    run = command(Path(workflow.main_snakefile), files, overrides)
    if signals.in_cluster_job() and not workflow.is_main_process:
        signals.hand_on()
    study = _read(workflow, source)
    if workflow.is_main_process:
        terminal.be_brief(getattr(workflow, "output_settings", None))
    settings[CONTEXT] = {
        "command": run,
        "classes": str(study.config.classes),
        "control": study.config.control,
        "memory_model": str(study.config.memory_model or "") or None,
        "sweep": controls(study),
    }
    return study


def _read(workflow: Any, source: Settings) -> Study:
    linting = not getattr(workflow, "check_envvars", True)  # the linter alone switches that check off
    if linting or not workflow.is_main_process:
        return studies.load_study(source, check_files=False)
    if found := _of_unknown_origin():
        raise InputError([found])
    checked = validate(source, cache=SCAN_CACHE)
    if ahead := _ahead(checked.study):
        raise InputError([ahead])
    if unknown := _unknown_targets(sys.argv[1:], checked.study):
        raise InputError(unknown)
    if refused := Needs(checked.study).refusals():
        raise InputError(refused)
    changed = _changed(checked.study)
    for remark in (*map(str, checked.warnings), *checked.notes, *_first(checked.remarks), *changed):
        sys.stderr.write(f"longimorph: {remark}\n")
    return checked.study


def _unknown_targets(arguments: Iterable[str], study: Study) -> list[Problem]:
    """Return a problem for each target that names a patient that the study lacks, or that has no pairs.

    ``arguments``: those of the command line. Snakemake's own objects know the targets too late for any
    message other than that there is no rule for them.
    """
    problems, known = [], study.plan.patients()
    for target in sorted(set(_targets(arguments))):
        name = target.removeprefix(PATIENT)
        if name in known or name in RESERVED:
            continue
        reason = next((out.reason for out in study.plan.left_out if out.patient == name), "")
        text = f"has no pair of visits: it {reason}" if reason else "is not a patient of this study"
        near = None if reason else nearest(name, known)
        hint = f"Did you mean '{PATIENT}{near}'?" if near else None
        if not (hint or reason):
            hint = f"Available targets: {', '.join(f'{PATIENT}{one}' for one in known[:_MOST_NAMES])}"
            hint += f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
        problems.append(Problem(target, text, hint=hint))
    return problems


_WITH_VALUE = (
    *("-d", "--directory", "--configfile", "--configfiles", "--profile", "--workflow-profile", "--report"),
    *("-s", "--snakefile", "-U", "--until", "-O", "--omit-from", "--group-components", "-e", "--executor"),
)
"""Snakemake options whose value may look like a target."""


def _targets(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments that can only be a patient's target: neither a file nor the value of an option."""
    before = ""
    for word in arguments:
        if word.startswith(PATIENT) and before not in _WITH_VALUE and not set(word) & set("/=:."):
            yield word
        before = word


def _of_unknown_origin() -> Problem | None:
    """Return a problem when the working folder has results but no record of their inputs."""
    records = Path(".snakemake", "metadata")
    if not Path("results", "patients").is_dir() or Path("results", "logs").is_dir():
        return None
    if records.is_dir() and any(records.iterdir()):
        return None
    text = "contains results of unknown origin: neither Snakemake's records nor the logs name their inputs"
    hint = "Move the folder away; or copy .snakemake and results/logs from the folder where it was made"
    return Problem("results", text, hint=hint)


def _ahead(study: Study) -> Problem | None:
    """Return a problem when a result of scans has a date in the future: no changed scan would be newer."""
    visits = {(v.patient, v.timepoint) for pair in study.plan.all for v in (pair.source, pair.target)}
    names = sorted(
        {f"{patient}/{name}" for patient, visit in visits for name in ("alignment.json", f"{visit}/qc.json")}
    )
    made = [Path("results", "patients", name) for name in names]
    ahead = [file for file in made if file.exists() and inputs.from_the_future(file)]
    if not ahead:
        return None
    more = f", as do {len(ahead) - 1} more" if ahead[1:] else ""
    text = f"has a timestamp in the future{more}, because a clock was wrong"
    hint = "A scan changed since then would go unnoticed. If none was, set the timestamps of the results "
    hint += (
        "to now, in this folder: find results -newermt now -exec touch -d now {} +    Otherwise delete them"
    )
    return Problem(str(ahead[0]), text, hint=hint)


def _changed(study: Study) -> list[str]:
    """Make sure that results of scans with changed content are repeated; return the first few sentences."""
    try:
        told = contents.notice(Jobs(study))
    except OSError as error:
        text = f"cannot be written ({error.strerror}): it records which scans have changed"
        raise InputError([Problem(str(contents.MARKS), text)]) from error
    more = len(told) - _MOST_REMARKS
    tail = [f"and likewise for {counted(more, 'more patient')}"] if more > 0 else []
    return [*told[:_MOST_REMARKS], *tail]


def _first(remarks: Sequence[ScanRemark]) -> list[str]:
    """Return the remarks on scans as text, limited to the first few."""
    more = len(remarks) - _MOST_REMARKS
    words = f"and {counted(more, 'more remark')} on scans; longimorph check lists them all"
    tail = [words] if more > 0 else []
    return [*map(str, remarks[:_MOST_REMARKS]), *tail]


def source_of(settings: Mapping[str, Any], files: Sequence[Path], overrides: Mapping[str, Any]) -> Settings:
    """Return the single configuration file, or the settings merged from several files and the command line.

    ``settings`` holds the contents of ``files``, later ones taking precedence, and ``overrides`` above all.
    The path of a table starts at the folder of the file that gives it, or at the working folder for an
    override.
    """
    if len(files) == 1 and not overrides:
        return files[0]
    values, tables = copy.deepcopy(dict(settings)), None
    for file in files:
        given, folder = yaml.safe_load(file.read_text(encoding="utf-8")) or {}, file.resolve().parent
        for key in PATHS:
            if key in given and key not in overrides:
                values[key] = located(given[key], folder) if isinstance(given[key], str) else given[key]
        tables = located_in_sweep(given.get("sweep"), folder) or tables
    overridden = located_in_sweep(overrides.get("sweep"), Path()) is not None
    if tables and not overridden and located_in_sweep(values.get("sweep"), Path()):
        values["sweep"]["settings"]["control"] = tables
    return values


def command(snakefile: Path, files: Sequence[Path], overrides: Mapping[str, Any]) -> list[str]:
    """Return the beginning of a command that runs this workflow again from any folder."""
    words = ["snakemake", "--snakefile", str(snakefile.resolve()), "--directory", str(Path.cwd())]
    if files:
        words += ["--configfile", *(str(file.resolve()) for file in files)]
    if overrides:
        words += ["--config", *(f"{key}={json.dumps(value)}" for key, value in overrides.items())]
    return words
