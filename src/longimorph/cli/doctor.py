"""Check whether this machine has what a run needs, and whether a study's scans are plausible."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import longimorph
from longimorph.cli.screen import say
from longimorph.cores import usable_cores
from longimorph.errors import InputError
from longimorph.orchestration import slurm
from longimorph.text import counted

PACKAGES = ("numpy", "scipy", "pandas", "nibabel", "SimpleITK", "matplotlib", "snakemake")


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it passed, and a line about it."""

    good: bool
    text: str


def report(machine: Sequence[Finding], config: Path | None = None) -> int:
    """Print the findings on the machine and on a study, with a summary first; return the exit status.

    The status is as for other commands: 1 if something is missing or a scan will fail, 2 if the study's files
    need correction. Findings that are merely unusual do not change it.
    """
    study: list[Finding] = []
    odd: list[str] = []
    refused: InputError | None = None
    if config is not None:
        try:
            study, odd = examine_study(config)
        except InputError as error:
            refused = error
    findings = [*machine, *study]
    bad = sum(not finding.good for finding in findings) + (len(refused.problems) if refused else 0)
    if config is not None:
        say(f"{_counted(bad, 'problem')}, {_counted(len(odd), 'thing')} to look at\n")
    for finding in findings:
        say(f"{'ok     ' if finding.good else 'PROBLEM'} {finding.text}", indent=8)
    for text in odd:
        say(f"look at {text}", indent=8)
    if refused is not None:
        raise refused
    return 1 if bad else 0


def examine_study(config: Path) -> tuple[list[Finding], list[str]]:
    """Return the findings on a study, and what is unusual about its scans.

    Raises InputError with everything that needs correction.
    """
    from longimorph.study.blocked import blocked
    from longimorph.study.validate import validate

    checked = validate(config)
    plan, visits = checked.study.plan, len(checked.study.cohort.visits)
    stopped = blocked(checked.study, checked.reports, checked.warnings)
    pairs, patients = counted(len(plan.pairs), "pair"), counted(len(plan.patients()), "patient")
    text = f"{counted(visits, 'visit')}, {pairs} of {patients}"
    findings = [Finding(bool(plan.pairs), f"{config}: {text}")]
    findings += [Finding(False, str(warning)) for warning in checked.warnings]
    findings += [Finding(False, f"{one}: this pair will fail") for one in stopped]
    return findings, [*checked.notes, *map(str, checked.remarks)]


def _counted(number: int, noun: str) -> str:
    return counted(number, noun) if number else f"no {noun}s"


def examine_machine() -> list[Finding]:
    """Check Python, packages, CPUs, GPU, commands and the working folder."""
    return [
        *_python(),
        *map(_package, PACKAGES),
        *_torch(),
        _processors(),
        _command(),
        *_slurm(),
        _folder(Path.cwd()),
    ]


def _python() -> Iterator[Finding]:
    version = f"Python {platform.python_version()} ({sys.executable})"
    yield Finding(True, f"longimorph {longimorph.__version__}, {Path(longimorph.__file__).parent}")
    yield Finding(sys.version_info >= (3, 11), version)


def _package(name: str) -> Finding:
    try:
        import_module(name)
        return Finding(True, f"{name} {metadata.version(name)}")
    except Exception as error:  # whatever a broken installation raises
        return Finding(False, f"{name} cannot be imported: {error}")


def _torch() -> Iterator[Finding]:
    found = _package("torch")
    yield found
    if not found.good:
        return
    import torch

    if not torch.cuda.is_available():
        yield Finding(True, "device: CPU (torch finds no CUDA GPU)")
        return
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(True, f"device: {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")


def _processors() -> Finding:
    usable = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS")
    return Finding(True, counted(usable, "CPU") + (f", OMP_NUM_THREADS={limit}" if limit else ""))


def _command() -> Finding:
    path = shutil.which("snakemake")
    if path is None:
        return Finding(False, "snakemake is not on the PATH; activate the virtual environment")
    return Finding(True, f"snakemake command: {path}")


def _slurm() -> Iterator[Finding]:
    """Check the requirements of a run on a cluster, if this machine belongs to one."""
    if shutil.which("sbatch") is None:
        yield Finding(True, "no SLURM on this machine (sbatch not found)")
        return
    plugin = _package("snakemake_executor_plugin_slurm")
    yield (
        plugin
        if plugin.good
        else Finding(False, f"{plugin.text}; run make setup or pip install snakemake-executor-plugin-slurm")
    )
    seconds = slurm.min_job_age()
    if seconds is None:
        yield Finding(False, "the SLURM controller does not answer; check with scontrol ping")
    else:
        problem = slurm.memory_problem(seconds)
        yield Finding(problem is None, problem or f"SLURM remembers ended jobs for {seconds} s (MinJobAge)")


def _folder(folder: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"longimorph")
            file.flush()
    except OSError as error:
        return Finding(False, f"{folder} is not writable: {error.strerror}")
    free = shutil.disk_usage(folder).free / 1e9
    return Finding(free > 1, f"{folder} is writable, {free:.0f} GB free")
