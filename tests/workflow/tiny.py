"""A cohort of heads some twenty voxels across, and ways to run the workflow on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

REPOSITORY = Path(__file__).parents[2]
ENTRY_POINTS = (REPOSITORY / "Snakefile", REPOSITORY / "workflow" / "Snakefile")
PYTHON = sys.executable
SIDE, VOXEL_MM = 20, 8.0
CLASSES = (
    "class\tregions\tstates\tregion\tstate\tcolor\n"
    "oedema\t*\t1\tWM\toedema\t#e15759\n"
    "WM\t1\t*\tWM\thealthy\t#f0f0f0\n"
    "ventricles\t2\t*\tCSF\thealthy\t#4e79a7\n"
    "background\t0\t*\t\thealthy\t#000000\n"
)
CONTROL = (
    "from\toedema\tWM\tventricles\tbackground\n"
    "oedema\t1\t0\t1\t1\n"
    "WM\t0\t1\t1\t1\n"
    "ventricles\t1\t1\t1\t1\n"
    "background\t1\t1\t1\t1\n"
)


def head(ventricle_mm: float, lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return region and state labels of a ball of white matter around a ventricle, with or without oedema."""
    points = (np.indices((SIDE,) * 3) - (SIDE - 1) / 2) * VOXEL_MM
    radius = np.linalg.norm(points, axis=0)
    regions = np.where(radius < ventricle_mm, 2, np.where(radius < 64, 1, 0)).astype(np.uint8)
    spot = np.linalg.norm(points - np.array([40.0, 0, 0])[:, None, None, None], axis=0) < 14
    return regions, (spot & (regions == 1) & lesion).astype(np.uint8)


def save(labels: np.ndarray, path: Path) -> None:
    """Write labels as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = -(SIDE - 1) / 2 * VOXEL_MM
    nib.save(nib.Nifti1Image(labels, affine, dtype=labels.dtype), path)


@dataclass
class TinyCohort:
    """A study in ``folder``: rows of the cohort table, and settings on top of the three tables.

    With ``stub`` the steps only write their files, so that a run takes seconds.
    """

    folder: Path
    rows: list[tuple[str, str, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    stub: bool = False
    repeats: dict[tuple[str, str], str] = field(default_factory=dict)

    def copy(self, folder: Path) -> TinyCohort:
        """A copy of the study with all that it holds, in a folder of its own, to change."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return TinyCohort(folder, list(self.rows), dict(self.settings), self.stub, dict(self.repeats))

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config" / "config.yaml"

    def add(
        self, patient: str, timepoint: str, days: float, ventricle_mm: float, lesion: bool = False
    ) -> None:
        """Write the labels of one visit and add its row."""
        regions, states = head(ventricle_mm, lesion)
        for name, labels in (("regions", regions), ("states", states)):
            save(labels, self.folder / "scans" / patient / f"{timepoint}_{name}.nii.gz")
        self.rows.append((patient, timepoint, days))

    def repeat(self, patient: str, timepoint: str, ventricle_mm: float) -> None:
        """Write the labels of a repeat of a visit and add its row."""
        days = next(row[2] for row in self.rows if row[:2] == (patient, timepoint))
        self.add(patient, f"{timepoint}r", days, ventricle_mm)
        self.repeats[patient, f"{timepoint}r"] = timepoint

    def write(self, **settings: Any) -> None:
        """Write the tables and the configuration."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        lines = ["patient\ttimepoint\tdays\tregions\tstates" + ("\trepeat_of" if self.repeats else "")]
        for patient, timepoint, days in self.rows:
            scan = f"../scans/{patient}/{timepoint}"
            lines.append(f"{patient}\t{timepoint}\t{days:g}\t{scan}_regions.nii.gz\t{scan}_states.nii.gz")
            lines[-1] += f"\t{self.repeats.get((patient, timepoint), '')}" if self.repeats else ""
        tables = {"cohort.tsv": "\n".join(lines) + "\n", "classes.tsv": CLASSES, "control.tsv": CONTROL}
        for name, text in tables.items():
            (self.config.parent / name).write_text(text)
        self.settings |= settings
        values = {"cohort": "cohort.tsv", "classes": "classes.tsv", "control": "control.tsv", **self.settings}
        self.config.write_text(yaml.safe_dump(values))

    def snakemake(
        self, *arguments: str, entry: Path = ENTRY_POINTS[0], timeout: float = 300, brief: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the workflow from a folder that is neither the repository nor the study; unless ``brief``, it
        tells details of its jobs."""
        places = ["-s", str(entry), "--directory", str(self.folder), "--configfile", str(self.config)]
        command = [PYTHON, "-m", "snakemake", *places, "--cores", "2", "--nocolor"]
        command += [*([] if brief else ["--printshellcmds"]), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if self.stub:
            places = [str(Path(__file__).parent / "stub"), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(places)
        return subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, timeout=timeout
        )

    def planned(self, *arguments: str, **options: Any) -> list[tuple[str, ...]]:
        """Return the jobs of a dry run, as rule and wildcards, sorted."""
        run = self.snakemake("--dry-run", *arguments, **options)
        assert run.returncode == 0, run.stdout + run.stderr
        return jobs_of(run.stdout + run.stderr)


def jobs_of(text: str) -> list[tuple[str, ...]]:
    """Return the jobs that Snakemake's output lists, as rule and wildcards, sorted."""
    jobs: list[tuple[str, ...]] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] in ("rule", "localrule") and words[1].endswith(":"):
            jobs.append((words[1].rstrip(":"),))
        elif words[:1] == ["wildcards:"]:
            jobs[-1] = (*jobs[-1], *(word.rstrip(",") for word in words[1:]))
    return sorted(jobs)


def study(folder: Path, stub: bool = False) -> TinyCohort:
    """Two patients with two and three visits, and one with a single visit."""
    cohort = TinyCohort(folder, settings={"spacing_mm": 8, "smoothing_mm": 4, "reference": "none"}, stub=stub)
    cohort.add("P001", "V1", 0, 20)
    cohort.add("P001", "V2", 61, 28)
    cohort.add("P002", "V1", 0, 24)
    cohort.add("P002", "V2", 90, 24, lesion=True)
    cohort.add("P002", "V3", 180, 30, lesion=True)
    cohort.add("P003", "V1", 0, 24)
    cohort.write()
    return cohort
