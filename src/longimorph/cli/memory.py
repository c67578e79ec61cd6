"""``longimorph memory``: fit the memory model to measured peaks, and print its predictions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longimorph.errors import InputError, LongimorphError, Problem
from longimorph.footprint import FREE_MAPS, LADDERS, PAIRS_KEPT
from longimorph.io import atomic
from longimorph.memory.model import (
    HOST_MAPS,
    MODEL_FILE,
    OPTIMISATION,
    PHASES,
    PLACES,
    RESULT_MAPS,
    TERMS,
    USUAL_STEPS,
    Model,
    Size,
    fitted,
    model,
    slab_share,
)
from longimorph.text import aligned

if TYPE_CHECKING:
    from longimorph.memory.measure import Sample

DEVICES = ("cpu", "cuda")
STRATEGIES = LADDERS["cuda"]
REFITTED = Path("memory_model.json")
QUICK = 8
"""Registrations per strategy measured with --quick: no more than there are coefficients."""


def register(commands: Any) -> None:
    """Register the command."""
    text = "predict the memory of a registration, or fit the memory model"
    parts = commands.add_parser("memory", help=text, description=text).add_subparsers(
        metavar="PART", required=True
    )
    text = "fit the model to the peaks of small registrations (minutes), or correct it by those of a cohort"
    sub = parts.add_parser("fit", help=text, description=text)
    sub.add_argument(
        "--out", type=Path, help=f"output file (default: the package's own; with --from {REFITTED})"
    )
    text = "correct the package's model by the measured peaks of the pairs in these results (seconds)"
    sub.add_argument("--from", dest="results", type=Path, nargs="+", metavar="RESULTS", help=text)
    sub.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    sub.add_argument(
        "--device",
        choices=DEVICES,
        nargs="+",
        default=DEVICES,
        help="types of device to fit; for cuda, the tensors that a GPU would hold are counted on the CPU",
    )
    sub.add_argument(
        "--quick", action="store_true", help="fewer registrations; the fit error is then not meaningful"
    )
    sub.set_defaults(command=fit)
    text = "predict the tensors that each strategy holds on device and host, for a given size"
    sub = parts.add_parser("predict", help=text, description=text)
    sub.add_argument("--shape", nargs="+", type=int, required=True, help="voxels per axis")
    sub.add_argument("--classes", type=int, required=True)
    sub.add_argument("--steps", type=int, default=USUAL_STEPS, help=f"default {USUAL_STEPS}")
    text = f"correction pairs of L-BFGS (default {PAIRS_KEPT})"
    sub.add_argument("--pairs", type=int, default=PAIRS_KEPT, help=text)
    text = "groups of classes that may exchange freely (default 1; with preset:atrophy there are none)"
    sub.add_argument("--free", type=int, default=1, metavar="N", help=text)
    sub.add_argument("--model", type=Path, help="model to use (default: the package's own)")
    sub.set_defaults(command=predict)


def predict(options: argparse.Namespace) -> int:
    """Print a table of the strategies."""
    counts = {"--shape": min(options.shape), "--classes": options.classes, "--steps": options.steps}
    wrong = [Problem(name, "is below 1", value=n) for name, n in counts.items() if n < 1]
    wrong += [Problem("--free", "is below 0", value=options.free)] if options.free < 0 else []
    if wrong:
        raise InputError(wrong)
    map_bytes = prod(options.shape) * options.classes * 4
    slab = slab_share(options.shape[0], map_bytes)
    further = FREE_MAPS * options.free
    size = Size(map_bytes, options.classes, options.steps, options.pairs, slab, further)
    rows = [["device", "strategy", "device GB", "host GB", "optimisation only: device GB", "host GB"]]
    known = model(options.model)
    for device, forms in known.devices.items():
        for strategy in forms:
            peaks = [known.peak(strategy, size, device, phases) for phases in (PHASES, OPTIMISATION)]
            numbers = [f"{n / 1e9:.2f}" for peak in peaks for n in (peak.device, peak.host)]
            rows.append([device, strategy, *numbers])
    _say("\n".join(aligned(rows)))
    processor, card = (known.process_bytes(device) / 1e9 for device in DEVICES)
    maps = " and ".join(f"{n * map_bytes / 1e9:.2f} GB" for n in (HOST_MAPS, RESULT_MAPS))
    _say(
        f"These figures are tensors only. In addition, the process takes {processor:.1f} GB of host memory "
        f"({card:.1f} GB with a GPU), and the pair's maps take {maps} while a result is written."
    )
    return 0


def fit(options: argparse.Namespace) -> int:
    """Measure, fit, print the coefficients and write the model; or correct it from finished cohorts."""
    if options.results:
        from longimorph.cli.refit import corrected

        better, pairs = corrected(options.results)
        _write(options.out or REFITTED, {"fitted": date.today().isoformat(), "pairs": pairs}, better)
        _say(f"To use it, set in config.yaml: memory_model: {(options.out or REFITTED).resolve()}")
        return 0
    out: Path = options.out or MODEL_FILE
    devices: dict[str, Any] = {}
    process: dict[str, int] = {}
    whole = set(options.device) == set(DEVICES) and set(options.strategies) == set(STRATEGIES)
    if out.is_file() and not whole:  # keep what is not measured now
        known = model(out)
        devices.update({name: dict(forms) for name, forms in known.devices.items()})
        process.update(known.process)
    for device in options.device:
        found = fit_device(device, options.strategies, options.quick)
        devices.setdefault(device, {}).update(found)
    if "cpu" not in devices:
        raise LongimorphError(f"{out} would have no model of a CPU: add --device cpu")
    _write(out, {"fitted": date.today().isoformat()}, Model(devices, process))
    return 0


def _write(out: Path, head: dict[str, Any], found: Model) -> None:
    content = {**head, "process_bytes": found.process} if found.process else head
    atomic.write_json(out, {**content, "devices": found.devices})
    model.cache_clear()
    _say(f"written: {out}")


def fit_device(device: str, strategies: Sequence[str], quick: bool) -> dict[str, Any]:
    """Coefficients by strategy, phase and place; prints those of each strategy when it is fitted."""
    from longimorph.memory.measure import DESIGNS, sample

    cases = DESIGNS[device][: QUICK if quick else None]
    forms = {}
    for strategy in strategies:
        samples = [sample(case, strategy, device) for case in cases]
        forms[strategy] = fit_samples(samples)
        _say(f"{device}, {strategy}: {describe(forms[strategy])}")
        _say(f"    largest error of a fitted peak: {100 * worst_error(forms[strategy], samples):.2f} %")
    return forms


def fit_samples(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Coefficients by phase and place from the samples of one strategy."""
    return {
        phase: {
            place: fitted(
                [_felt(one.size, phase, place) for one in samples],
                [getattr(one.peaks[phase], place) for one in samples],
            )
            for place in PLACES
        }
        for phase in PHASES
    }


def _felt(size: Size, phase: str, place: str) -> Size:
    """Remove what a phase does not use: after the optimisation, steps are parked and L-BFGS pairs freed."""
    if phase in OPTIMISATION:
        return size
    return replace(size, pairs=0, steps=0 if place == "device" else size.steps)


def worst_error(form: Any, samples: Sequence[Sample]) -> float:
    """Largest relative error of the model on the device peaks, and on the host peaks if there are any."""
    return max(error for one in samples for error in errors(form, one))


def errors(form: Any, one: Sample) -> list[float]:
    """Relative errors of a registration's device peak and of its host peak, if any."""
    predicted, peak = Model({"cpu": {one.strategy: form}}).peak(one.strategy, one.size), one.peaks[PHASES[0]]
    for phase in PHASES:
        peak = peak.most(one.peaks[phase])
    pairs = ((predicted.device, peak.device), (predicted.host, peak.host))
    return [abs(a / b - 1) for a, b in pairs if b > 0]


def describe(form: Any) -> str:
    """The coefficients of a cost and gradient evaluation on the device, as a formula."""
    value = {name: 0.0 for name in TERMS} | form["evaluation"]["device"]
    maps = f"{value['maps_per_pair']:.3f} M + {value['maps_per_step']:.3f} N + {value['maps']:.2f}"
    fields = f"{value['fields_per_step']:.2f} N + {value['fields']:.2f}"
    slabs = f"s ({value['slab_maps']:.1f} D + {value['slab_fields']:.1f} F)"
    return f"({maps}) D + ({fields}) F + {slabs} + {value['bytes'] / 1e3:.1f} kB"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
