"""Planning at scale: how long a large cohort takes until the first job could start, and in how much memory.

python -m benchmarks.plan                    1,000 patients with 5 visits each (some minutes)
python -m benchmarks.plan --patients 50      a look
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks import report
from longimorph.io import atomic
from longimorph.orchestration.start import SCAN_CACHE
from longimorph.study import study as studies
from longimorph.study.scancache import ScanCache
from longimorph.study.scans import examine_visit

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "plan.md"
SHAPE, CLASSES, SAMPLE = (182, 218, 182), 8, 20
MOST_SECONDS, MOST_GB, MOST_PLAN_SECONDS, MOST_FIRST_SECONDS = 60.0, 2.0, 10.0, 30.0
FIRST_JOB = "`snakemake`, until its first job starts"
STARTED = re.compile(r"^(local)?rule \w+:", re.MULTILINE)
"""What Snakemake prints when a job starts."""
GROUPS = (
    "align=prepare_{patient}",
    "maps=prepare_{patient}",
    "figure=finish_{patient}",
    "lesions=finish_{patient}",
    "patient_tables=finish_{patient}",
    "patient_report=finish_{patient}",
)
WATCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.call(sys.argv[2:])
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump([seconds, used.ru_maxrss], open(sys.argv[1], "w"))
sys.exit(status)
"""
METHOD = """Every visit is a file of its own with a real header ({shape} voxels of 1 mm), a hard link to one
label volume; {classes} classes, default settings, consecutive pairs. A run first checks the labels of every
scan that it has not seen and keeps the reports in `{cache}`: what one visit costs was
measured on {sample} of them. The runs of Snakemake below find these reports, as every run after the first
does; each reads all headers anew, from files that the system still holds in memory. Dry runs also print
every job. A run is stopped as soon as its first job starts: nothing is computed.

"""


@dataclass(frozen=True)
class Cost:
    """Seconds and peak memory (GB) of one command."""

    seconds: float
    gigabytes: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the cohort, time the commands and write the report."""
    options = _parser().parse_args(arguments)
    names = {"shape": "×".join(map(str, SHAPE)), "classes": CLASSES, "cache": SCAN_CACHE, "sample": SAMPLE}
    text = report.heading("Planning", "make bench-plan", 1) + METHOD.format(**names)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        write_cohort(folder, options.patients, options.visits)
        per_visit = fill_cache(folder)
        costs = {name: cost(command, folder) for name, command in commands(folder).items()}
        costs[FIRST_JOB] = first_job(run_of(folder), folder)
    text += table(options.patients, options.visits, per_visit, costs)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(options.out, text)
    sys.stdout.write(text + f"Report: {options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--scratch", type=Path, help="where the cohort is written for the time being")
    return parser


def write_cohort(folder: Path, patients: int, visits: int) -> None:
    """Write a study with this many patients and visits; all scans are links to one file."""
    scans = folder / "scans"
    scans.mkdir(parents=True)
    one = scans / "one.nii.gz"
    nib.save(nib.Nifti1Image(head(), np.eye(4)), one)
    rows = ["patient\ttimepoint\tdays\tregions"]
    for patient in range(patients):
        for visit in range(visits):
            name = f"P{patient:04d}_V{visit}.nii.gz"
            os.link(one, scans / name)
            rows.append(f"P{patient:04d}\tV{visit}\t{180 * visit}\tscans/{name}")
    classes = ["class\tregions\tstates", *(f"tissue{n}\t{n}\t*" for n in range(1, CLASSES))]
    tables = {
        "cohort.tsv": rows,
        "classes.tsv": [*classes, "background\t0\t*"],
        "config.yaml": ["cohort: cohort.tsv", "classes: classes.tsv", "control: preset:atrophy"],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def head() -> np.ndarray:
    """Labels of shells around the centre, one per class, and background."""
    centre = (np.array(SHAPE) - 1) / 2
    axes = [(np.arange(n) - c) ** 2 for n, c in zip(SHAPE, centre, strict=True)]
    radius = np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :])
    shell = np.ceil(radius / 75 * (CLASSES - 1))
    return np.where(shell < CLASSES, np.maximum(shell, 1), 0).astype(np.uint8)


def fill_cache(folder: Path) -> float:
    """Cache a report on every scan, as a first check does; return the seconds per visit."""
    study = studies.load_study(folder / "config.yaml")
    cache = ScanCache(folder / SCAN_CACHE)
    sample = study.cohort.visits[:SAMPLE]
    began = time.perf_counter()
    *_, found = map(examine_visit, sample)
    seconds = (time.perf_counter() - began) / len(sample)
    for visit in study.cohort.visits:
        cache.put(visit, found)
    (folder / SCAN_CACHE).parent.mkdir(parents=True)
    cache.save()
    return seconds


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands to time, by their names in the report."""
    config, own = str(folder / "config.yaml"), str(Path(sys.executable).with_name("longimorph"))
    dry = [*run_of(folder), "--dry-run"]
    groups = ["--groups", *GROUPS, "--group-components", "finish_{patient}=1000"]
    groups += ["--resources", "in_turn=1", "--set-resource-scopes", "in_turn=local"]
    return {
        "`longimorph plan`": [own, "plan", config],
        "`snakemake --dry-run`": dry,
        "`snakemake --dry-run`, groups as in the profiles": [*dry, *groups],
        "`snakemake --dry-run patient_P0000`": [*dry, "--", "patient_P0000"],
    }


def run_of(folder: Path) -> list[str]:
    """The command that runs the workflow in ``folder``."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    return [*command, "--directory", str(folder), "--configfile", str(folder / "config.yaml")]


def first_job(command: Sequence[str], folder: Path) -> Cost:
    """Run the workflow until it starts a job, then stop it; the seconds, and the memory until then."""
    log = folder / "output.txt"
    began = time.perf_counter()
    with log.open("w") as output:
        run = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        while run.poll() is None and not STARTED.search(log.read_text(encoding="utf-8")):
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        if run.poll() is not None:
            raise SystemExit(f"{' '.join(command)} ended before its first job:\n{log.read_text()[-2000:]}")
        status = Path(f"/proc/{run.pid}/status").read_text(encoding="ascii")
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(seconds, kilobytes * 1024 / 1e9)


def cost(command: Sequence[str], folder: Path) -> Cost:
    """Run a command; its seconds and its peak of resident memory.

    A small process stands between: a child's peak counts what its parent held when it was started.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log, measured = folder / "output.txt", folder / "measured.json"
    with log.open("w") as output:
        watched = [sys.executable, "-S", "-c", WATCH, str(measured), *command]
        done = subprocess.run(watched, cwd=folder, env=environment, stdout=output, stderr=output)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    seconds, kilobytes = json.loads(measured.read_text())
    return Cost(seconds, kilobytes * 1024 / 1e9)


def table(patients: int, visits: int, per_visit: float, costs: dict[str, Cost]) -> str:
    """The report's table, with the targets."""
    count = patients * visits
    lines = [
        f"{patients:,} patients with {visits} visits each: {count:,} scans, {count - patients:,} pairs.",
        "",
    ]
    lines += ["| | seconds | memory, GB | target: at most | |", "| --- | --- | --- | --- | --- |"]
    for name, found in costs.items():
        most = MOST_PLAN_SECONDS if "longimorph" in name else MOST_SECONDS
        most = MOST_FIRST_SECONDS if name == FIRST_JOB else most
        met = found.seconds <= most and found.gigabytes <= MOST_GB
        target = f"{most:g} s, {MOST_GB:g} GB"
        verdict = "reached" if met else "**missed**"
        lines.append(f"| {name} | {found.seconds:.1f} | {found.gigabytes:.2f} | {target} | {verdict} |")
    first = f"The first check of the labels takes {1000 * per_visit:.0f} ms per visit on one CPU, "
    return "\n".join([*lines, "", first + f"{count * per_visit / 60:.1f} minutes for this cohort, once.", ""])


if __name__ == "__main__":
    sys.exit(main())
