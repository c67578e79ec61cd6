"""``longimorph demo``: generate the phantom cohort, run the whole workflow on it, compare with the truth."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from longimorph import paths
from longimorph.demo import compare
from longimorph.demo.cohort import write_cohort
from longimorph.errors import LongimorphError
from longimorph.io import atomic
from longimorph.tables import columns
from longimorph.verdict.status import PairStatus, status_or

SEED = 1
SPACING_MM = 4.0
_STAMP = Path("truth") / "cohort.json"


def run(folder: Path, cores: int) -> int:
    """Run the demo in ``folder`` on ``cores`` cores; 0 when every target is met.

    A cohort written there earlier by the same version of the program is kept, so that only changed parts are
    recomputed. Raises LongimorphError when the folder holds something else.
    """
    started = time.monotonic()
    _say(f"Writing a phantom cohort of 4 patients with real anatomy and known truth to {folder}/")
    prepare(folder, cores)
    written = time.monotonic()
    _say(f"  done in {written - started:.0f} s. Running the workflow with --cores {cores}.")
    code = _workflow(folder, cores)
    ended = time.monotonic()
    if not (folder / "results" / "cohort" / "changes.csv").is_file():
        raise LongimorphError(
            f"The workflow wrote no cohort table (exit code {code}); see its messages above."
        )
    missed = report(folder)
    parts = (written - started, ended - written, ended - started)
    _say("\nSeconds: cohort {:.0f}, workflow {:.0f}, total {:.0f}".format(*parts))
    _say(_places(folder))
    if code != 0:
        missed.append(f"the workflow ended with code {code}")
    if missed:
        _say("\nTargets missed:\n" + "\n".join(f"  {sentence}" for sentence in missed))
        return 1
    _say("\nEvery target is met.")
    return 0


def prepare(folder: Path, cores: int) -> None:
    """Write the cohort, unless the same version of the program has written it there before."""
    stamp = {"seed": SEED, "spacing_mm": SPACING_MM, "program": _fingerprint()}
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _STAMP).is_file():
        raise LongimorphError(
            f"{folder} is not empty and contains no demo. Choose a new folder, or empty this one first."
        )
    if folder.is_dir() and _read_stamp(folder) == {**stamp, "complete": True}:
        return
    atomic.write_json(folder / _STAMP, {**stamp, "complete": False})
    write_cohort(folder, SEED, SPACING_MM, cores)
    atomic.write_json(folder / _STAMP, {**stamp, "complete": True})


def report(folder: Path) -> list[str]:
    """Print measured against true values and write the comparison tables; return the missed targets."""
    measured = columns.read_table(folder / "results" / "cohort" / "changes.csv")
    true = pd.read_csv(folder / "truth" / "changes.csv", dtype={name: str for name in columns.PAIR})
    joined = compare.join(measured, true)
    scores = []
    for (patient, source, target), rows in joined.groupby(list(columns.PAIR), sort=False):
        status = _read_status(folder / "results" / "patients" / str(patient) / f"{source}__{target}")
        scores.append(compare.score(rows, status))
        _say("\n" + compare.describe(rows, scores[-1]))
    atomic.write_csv(folder / "comparison.csv", joined, float_format="%.3f")
    table = pd.DataFrame([{**dict(zip(columns.PAIR, s.pair, strict=True)), **_plain(s)} for s in scores])
    atomic.write_csv(folder / "comparison_pairs.csv", table, float_format="%.4f")
    return [sentence for result in scores for sentence in result.missed()]


def _plain(result: compare.PairScore) -> dict[str, Any]:
    """The score's numbers under names that include their unit."""
    values = asdict(result)
    return {
        "true_gross_mm3": values["true_mm3"],
        "gross_error_percent": values["error"],
        "deformation_percent_of_brain": values["deformation"],
        "reallocation_percent_of_brain": values["reallocation"],
        "drift_percent": values["drift"],
        "seconds": values["seconds"],
        "failure": values["failure"],
    }


def _workflow(folder: Path, cores: int) -> int:
    """Run Snakemake on the study; its output goes to the terminal. Return its exit code."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(paths.repository() / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    command += ["--cores", str(cores), "--rerun-incomplete"]
    command += ["--quiet", "host", "rules", "reason"]
    return subprocess.run(command, check=False).returncode


def _places(folder: Path) -> str:
    """Describe where the results are."""
    return (
        f"Page:       {folder}/results/cohort/report.html (open it in a browser; it links to every patient)\n"
        f"Tables:     {folder}/results/cohort/\n"
        f"Comparison: {folder}/comparison.csv (per class) and comparison_pairs.csv (per pair)"
    )


def _fingerprint() -> str:
    """A hash of the code that generates the cohort."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def _read_stamp(folder: Path) -> Any:
    try:
        return json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_status(folder: Path) -> PairStatus:
    return status_or(folder, PairStatus(message=f"{folder / 'status.json'} is missing"))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
