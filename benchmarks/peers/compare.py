"""False deformation of registration programs, demeter-metamorphosis and longimorph on the same phantoms.

python -m benchmarks.peers            the demo's anatomy at 4 and 2 mm (a table of results makes it resumable)
python -m benchmarks.peers --quick    the demo's anatomy at 4 mm, demeter with two iterations
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import environments, report
from benchmarks.environments import Unavailable
from benchmarks.peers import scoring, table
from benchmarks.peers.scoring import ALONE, OURS, Result
from benchmarks.phantoms.maps import KnownPair, default_data, make_pair
from benchmarks.truth import fingerprint
from benchmarks.truth_runs import by_matrix, numerical
from longimorph.io import atomic
from longimorph.memory.measure import random_pair
from longimorph.numerics.memory_strategies import STORE, Ladder
from longimorph.numerics.register import register
from longimorph.numerics.run import Run
from longimorph.study import presets
from longimorph.study.config import defaults
from longimorph.study.control import free_pairs

OUT = environments.ROOT / "docs" / "benchmarks" / "peers.md"
QUICK_OUT = environments.ROOT / "build" / "peers-quick.md"
SCRIPTS = Path(__file__).parent
LONGEST_S = 900
SYN = {"metric": "meansquares", "radius": 0, "iterations": [40, 20, 10], "grad_step": 0.2}
SYN |= {"flow_sigma": 3, "total_sigma": 0.5, "hidden": []}
SYN_COARSE = {"iterations": [200], "grad_step": 0.25, "flow_sigma": 0.7, "total_sigma": 0}
GREEDY = {"metric": "SSD", "iterations": "100x70x50", "sigmas": "1.732vox 0.707vox"}
GREEDY_COARSE = {"sigmas": "1.0vox 0.5vox"}
COARSE_MM = 3
DEMETER = {"rho": 0.9, "cost_cst": 1e-3, "steps": 10, "iterations": 20}
DEMETER_KERNEL_MM = 8.0
METHOD = """False deformation: half the sum over classes of |measured − true deformation|, in % of the gross
true change (deformation and reallocation together). Volumes are sums of probabilities. For a registration,
deformation is the class's map warped to the target less the map itself. antspyx 0.6.3: SyN alone from
the identity, mean squares on every class (the masked variant does not see the pathological classes); at
2 mm 40, 20 and 10 iterations, flow sigma 3, total sigma 0.5 voxels, at 4 mm 200 iterations on one level,
step 0.25, flow sigma 0.7 voxels. greedy 1.4.0.3: SSD on every class, 100, 70 and 50 iterations, at 2 mm
sigmas of 1.732 and 0.707 voxels, at 4 mm of 1 and 0.5. Both take the maps unsmoothed. Their settings are
the best, by the mean, of six variants on ventricles at 2 mm, and of eight (ANTs) and six (greedy) on
ventricles and both at 4 mm. demeter-metamorphosis
0.2.11: its simplex class, rho 0.9, Gaussian kernel of 8 mm, 10 steps, {iterations} iterations of its
L-BFGS, on the maps that longimorph takes; what its transport moves is deformation; at 4 mm only,
and on the first draw of the noise (its number in brackets), for its time. longimorph: the defaults,
and the preset of the case. Control matrix alone: the matrix of that preset splits the difference of the two
maps, voxel by voxel, and nothing is registered. Images carry their spacing. Seconds are those of the
registration alone; the programs of a phantom ran one after the other.

"""


@dataclass(frozen=True)
class Phantom:
    """A known pair: case, spacing in mm, anatomy and the seed of its segmentation noise."""

    case: str
    spacing: int
    anatomy: str = "demo"
    noise: int | None = None

    def __str__(self) -> str:
        noisy = "" if self.noise is None else f", noisy ({self.noise})"
        return f"{self.anatomy}, {self.case}, {self.spacing} mm{noisy}"


@dataclass(frozen=True)
class Peer:
    """A program: its column's title, environment, script and settings, and what differs from 3 mm on.

    A ``slow`` one runs at 4 mm only, and on the first draw of the noise.
    """

    title: str
    environment: str
    script: str
    settings: dict[str, Any] = field(default_factory=dict)
    coarse: dict[str, Any] = field(default_factory=dict)
    masked: bool = False
    smoothed: bool = False
    slow: bool = False


PEERS = {
    "ants": Peer("ANTs SyN", "ants", "run_ants.py", SYN, SYN_COARSE),
    "ants_masked": Peer("ANTs SyN, lesion masked", "ants", "run_ants.py", SYN, SYN_COARSE, masked=True),
    "greedy": Peer("greedy", "greedy", "run_greedy.py", GREEDY, GREEDY_COARSE),
    "demeter": Peer("demeter simplex", "demeter", "run_demeter.py", DEMETER, smoothed=True, slow=True),
}
TITLES = {OURS: OURS, ALONE: "control matrix alone", **{name: peer.title for name, peer in PEERS.items()}}


def phantoms(quick: bool) -> list[Phantom]:
    """The phantoms of a run."""
    if quick:
        return [Phantom(case, 4) for case in ("ventricles", "oedema", "both")]
    cases = ("ventricles", "oedema", "both", "mass", "pushed")
    noisy = [Phantom("both", 4, noise=seed) for seed in (1, 2, 3)]
    fine = [Phantom(case, 2) for case in cases]
    return [*(Phantom(case, 4) for case in cases), *noisy, *fine]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every program on every phantom that is not in the table; both are written anew after each."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    out = options.out or (QUICK_OUT if options.quick else OUT)
    iterations = 2 if options.quick else DEMETER["iterations"]
    head = report.heading("Peers on phantoms with known truth", "make bench-peers", options.threads)
    head += METHOD.format(iterations=iterations)
    chosen, program, rows = phantoms(options.quick), f"{fingerprint()} {iterations}", out.with_suffix(".csv")
    before = table.read_rows(rows, program)
    known = [table.complete(before, str(phantom), [OURS, ALONE, *options.peers]) for phantom in chosen]
    results = [result for one in known for result in one]
    todo = [phantom for phantom, one in zip(chosen, known, strict=True) if not one]

    def write_page() -> None:
        atomic.write_text(out, head + scoring.markdown(results, _titles(options.peers)))

    report.say(f"{len(chosen)} phantoms, {len(chosen) - len(todo)} of them done; table: {rows}")
    for result in run(todo, options.peers, options.threads, int(iterations), options.data):
        results.append(result)
        table.write_rows(rows, results, program)
        write_page()
        report.say(f"{result.phantom}: {TITLES[result.program]}: {result.missing or _figures(result)}")
    write_page()
    report.say(f"Report: {out}")
    return 0


def run(
    chosen: Sequence[Phantom], peers: Sequence[str], threads: int, iterations: int, data: Path
) -> Iterator[Result]:
    """Yield every result, phantom by phantom, longimorph first and the control matrix alone second."""
    _compile()
    for phantom in chosen:
        pair = make_pair(phantom.case, phantom.spacing, phantom.anatomy, phantom.noise, data)
        smoothed = pair.simplex(defaults().smoothing_mm, defaults().floor)
        yield measured(phantom, OURS, pair, lambda: _longimorph(pair, smoothed))  # noqa: B023
        yield measured(phantom, ALONE, pair, lambda: _matrix_alone(pair, smoothed))  # noqa: B023
        for name in peers:
            peer = PEERS[name]
            settings = {"threads": threads, **peer.settings}
            if name == "demeter":
                settings["iterations"] = iterations
            elif phantom.spacing >= COARSE_MM:
                settings |= peer.coarse
            yield measured(phantom, name, pair, lambda: _peer(phantom, peer, pair, smoothed, settings))  # noqa: B023


def measured(
    phantom: Phantom, program: str, pair: KnownPair, work: Callable[[], tuple[NDArray[Any], float]]
) -> Result:
    """The result of ``work``, which gives deformation per class in mm³ and seconds, or why there is none."""
    truth = pair.truth
    change = scoring.gross(truth.deformation) + scoring.gross(truth.reallocation)
    try:
        deformation, seconds = work()
    except Unavailable as error:
        return Result(str(phantom), program, change, missing=str(error))
    wrong = scoring.false_deformation(deformation, truth.deformation, truth.reallocation)
    return Result(str(phantom), program, change, wrong, seconds)


def _control(pair: KnownPair) -> NDArray[np.float64]:
    """The control matrix (C, C) of the preset that suits the case. Raises ``Unavailable``."""
    control, problems = presets.examine_presets(pair.preset, pair.classes)
    if control is None:
        raise Unavailable("; ".join(str(problem) for problem in problems))
    return control


def _compile() -> None:
    """Register a small pair, so that no time includes the compilation of the loops after an installation.

    It is large enough for a kernel by its band.
    """
    register(*random_pair((40, 40, 40), 3), (4.0, 4.0, 4.0), numerical(defaults()))


def _longimorph(pair: KnownPair, maps: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], float]:
    control, settings = _control(pair), numerical(defaults())
    source, target = (torch.from_numpy(one) for one in maps)
    shares, spacing = torch.from_numpy(control).float(), pair.grid.spacing.tolist()
    free = free_pairs(control, pair.classes, settings.reallocation == "projected")
    began = time.perf_counter()
    run = Run(ladder=Ladder([STORE]))  # what a job chooses where memory allows
    found = register(source, target, shares, spacing, settings, run, free=free)
    seconds = time.perf_counter() - began
    moved = found.attribution.deformation.sum((1, 2, 3), dtype=torch.float64) * pair.grid.voxel_volume
    return moved.numpy(), seconds


def _matrix_alone(pair: KnownPair, maps: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], float]:
    control, (source, target) = _control(pair), maps
    began = time.perf_counter()
    moved, _ = by_matrix(target - source, control, pair.grid.voxel_volume)
    return moved, time.perf_counter() - began


def _peer(
    phantom: Phantom,
    peer: Peer,
    pair: KnownPair,
    smoothed: tuple[NDArray[Any], ...],
    settings: dict[str, Any],
) -> tuple[NDArray[Any], float]:
    """Deformation per class in mm³ and seconds of a peer, run in its own environment."""
    source, target = smoothed if peer.smoothed else (pair.source, pair.target)
    hidden = [i for i, row in enumerate(pair.classes.rows) if row.pathological and target[i].max() > 0.05]
    too_long = peer.slow and (phantom.spacing < 4 or phantom.noise not in (None, 1))
    if (peer.masked and not hidden) or too_long:
        raise Unavailable("-")
    if peer.masked:
        settings = {**settings, "hidden": hidden}
    if peer.environment == "demeter":
        settings = {**settings, "kernel": DEMETER_KERNEL_MM / pair.spacing}
    found = call(peer, {"source": source, "target": target, "spacing": pair.spacing}, settings)
    if "deformation" in found:
        return found["deformation"] * pair.spacing**3, float(found["seconds"])
    return scoring.deformation_of(source, found["warped"], pair.spacing), float(found["seconds"])


def call(peer: Peer, case: dict[str, Any], settings: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Run a peer's script on a case and return what it wrote. Raises ``Unavailable``."""
    python = environments.python(peer.environment)
    folder = environments.FOLDER / "cases"
    folder.mkdir(parents=True, exist_ok=True)
    given, result = folder / f"{peer.environment}_case.npz", folder / f"{peer.environment}_result.npz"
    result.unlink(missing_ok=True)
    np.savez(given, **case)
    command = [str(python), str(SCRIPTS / peer.script), str(given), str(result), json.dumps(settings)]
    variables = environments.surroundings(python.parents[1], settings["threads"])
    try:
        subprocess.run(command, check=True, env=variables, capture_output=True, text=True, timeout=LONGEST_S)
        with np.load(result) as found:
            return dict(found)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{peer.title} failed: {environments.reason(error)}") from error


def _titles(peers: Sequence[str]) -> dict[str, str]:
    return {name: title for name, title in TITLES.items() if name in (OURS, ALONE, *peers)}


def _figures(result: Result) -> str:
    return f"false deformation {result.error:.1f} %, {result.seconds:.0f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="three phantoms at 4 mm, demeter with two iterations"
    )
    parser.add_argument("--out", type=Path, help=f"the report (default {OUT}, with --quick {QUICK_OUT})")
    parser.add_argument(
        "--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="which (default all)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each program (default 1)")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder of the public data")
    return parser
