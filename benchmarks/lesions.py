"""Single lesions: events on phantoms with known ones, and on a patient with an expert's mask of change.

python -m benchmarks.lesions    phantoms, some of them registered, and the patient: half an hour
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import lesion_patient, lesion_texts, report
from benchmarks.phantoms import lesion_results as written
from benchmarks.phantoms import lesions as phantoms
from benchmarks.phantoms.lesion_results import Score
from benchmarks.phantoms.maps import default_data
from longimorph.io import atomic
from longimorph.tables.lesions import REST

OUT = Path("docs/benchmarks/lesions.md")
NOISES = (0.0, 0.25, 0.5, 0.75, 1.0)
SHIFT_MM = 0.3
SPACING_MM = 2.0
REGISTERED_NOISE = 0.5
PRESETS = ("lesion", "open")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the page."""
    options = _parser().parse_args(arguments)
    parts = [report.heading("Single lesions", "make bench-lesions", 1), lesion_texts.HEAD]
    with tempfile.TemporaryDirectory() as folder:
        parts += [known_motion(Path(folder) / "known", options.seeds)]
        if options.registered:
            parts += [registered(Path(folder) / "registered", options.registered)]
        parts += [lesion_patient.section(options.data, Path(folder) / "patient")]
    atomic.write_text(options.out, "\n".join(parts) + "\n")
    report.say(f"Report: {options.out}")
    return 0


def known_motion(folder: Path, seeds: int) -> str:
    """Events by noise of the labels, with the phantom's own motion and with none."""
    lines = [
        lesion_texts.KNOWN.format(seeds=seeds, spacing=SPACING_MM, shift=SHIFT_MM, noise=REGISTERED_NOISE)
    ]
    lines += [f"| noise, voxels | F1 | without motion | {' | '.join(phantoms.EVENTS)} |"]
    lines += ["| --- " * (3 + len(phantoms.EVENTS)) + "|"]
    for noise in NOISES:
        with_motion: dict[str, Score] = {}
        without = Score(0, 0, 0)
        for seed in range(seeds):
            phantom = phantoms.phantom(seed, noise=noise, shift_mm=SHIFT_MM if noise else 0.0)
            made = written.of_phantom(folder / f"{noise}_{seed}", phantom, SPACING_MM)
            written.write_pair(made, "V1", "V2")
            add(with_motion, written.score(made.lesions(), phantom.sites))
            written.write_pair(made, "V1", "V2", moves=False)
            without += written.total(written.score(made.lesions(), phantom.sites))
        each = " | ".join(f"{with_motion[event].f1:.3f}" for event in phantoms.EVENTS)
        line = f"| {noise:g} | **{written.total(with_motion).f1:.3f}** | {without.f1:.3f} | {each} |"
        report.say(line)
        lines.append(line)
    return "\n".join([*lines, "", lesion_texts.KNOWN_READING])


def registered(folder: Path, seeds: int) -> str:
    """Events of phantoms that are registered like a study."""
    lines = [lesion_texts.REGISTERED.format(seeds=seeds, noise=REGISTERED_NOISE, spacing=SPACING_MM)]
    lines += ["| preset | F1 | right | missed | wrong | deformation, mm³ | within | seconds each |"]
    lines += ["| --- " * 8 + "|"]
    for preset in PRESETS:
        found, began = Score(0, 0, 0), time.perf_counter()
        errors: list[float] = []
        within: list[bool] = []
        for seed in range(100, 100 + seeds):
            phantom = phantoms.phantom(seed, noise=REGISTERED_NOISE, shift_mm=SHIFT_MM)
            made = written.of_phantom(folder / f"{preset}_{seed}", phantom, SPACING_MM)
            written.register_pair(made, "V1", "V2", f"preset:{preset}")
            rows = made.lesions()
            found += written.total(written.score(rows, phantom.sites))
            single = rows[rows["event"] != REST]
            errors += single["deformation_mm3"].tolist()
            within += (single["deformation_mm3"].abs() <= single["deformation_uncertainty_mm3"]).tolist()
        seconds = (time.perf_counter() - began) / seeds
        counts = f"{found.right} | {found.missed} | {found.wrong}"
        error, held = np.sqrt(np.mean(np.square(errors))), sum(within)
        line = f"| {preset} | **{found.f1:.3f}** | {counts} | {error:.0f} | {held} of {len(within)} "
        line += f"| {seconds:.0f} |"
        report.say(line)
        lines.append(line)
    return "\n".join([*lines, ""])


def add(total: dict[str, Score], found: dict[str, Score]) -> None:
    """Add scores by event."""
    for event, score in found.items():
        total[event] = total.get(event, Score(0, 0, 0)) + score


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lesions", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="phantoms for each noise")
    parser.add_argument("--registered", type=int, default=3, metavar="N", help="phantoms that are registered")
    parser.add_argument("--data", type=Path, default=default_data(), metavar="FOLDER", help="public data")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
