"""Attribution against known truth: phantoms on real anatomy, the pipeline's defaults, targets beside figures.

python -m benchmarks.truth               what the page needs (a table of finished runs makes it resumable)
python -m benchmarks.truth --thorough    also what differs little from one anatomy to another (hours)
python -m benchmarks.truth --quick       a few cases at 4 mm
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks import report, truth_report, truth_rigid, truth_runs
from benchmarks.phantoms.maps import CASES, default_data
from benchmarks.phantoms.subjects import available
from benchmarks.truth_runs import FORWARD, KEY, RIGID, SWAPPED, TruthRun
from longimorph import paths
from longimorph.io import atomic
from longimorph.numerics.shooting import Divergence

OUT = Path("docs/benchmarks/truth.md")
QUICK_OUT = Path("build/truth-quick.md")
ANATOMIES = ("demo", "synthseg_01", "ixi_012")
SPACINGS = (4, 3, 2)
SWAPPED_CASES = ("ventricles25", "mass", "oedema15", "necrosis", "both")
NOISY_CASES = ("null", *SWAPPED_CASES)
"""Those with noise on the finest grid."""
QUICK = (
    TruthRun("demo", "null", 4),
    TruthRun("demo", "oedema15", 4),
    TruthRun("demo", "both", 4),
    TruthRun("demo", "both", 4, visits=SWAPPED),
)
COLUMNS = (
    *KEY, "true_mm3", "brain_mm3", "error", "false_deformation", "false_reallocation", "unexplained",
    "control_alone", "closed", "map_error", "forbidden", "false_of_brain", "drift", "folded",
    "inverse_voxels", "steps", "evaluations", "converged", "exact_zero", "mismatch_before",
    "mismatch_after", "seconds", "voxels", "classes", "deformation_mm3", "reallocation_mm3",
    "deformation_uncertainty_mm3",
    "reallocation_uncertainty_mm3", "deformation_low_mm3", "deformation_high_mm3", "true_deformation_mm3",
    "true_reallocation_mm3", "failure", "program",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not in the table yet, then write the report; 0 also when targets are missed."""
    options = _parser().parse_args(arguments)
    out = options.out or (QUICK_OUT if options.quick else OUT)
    table = out.with_suffix(".csv")
    rows = run_missing(_planned(options), options.data, table, options.jobs)
    atomic.write_text(out, truth_report.markdown(rows, left_out(rows, options)))
    report.say(f"Report: {out}")
    return 0


def run_missing(jobs: Sequence[TruthRun], data: Path, table: Path, processes: int) -> pd.DataFrame:
    """Run what is not in the table yet, those of one anatomy and case together; returns the table."""
    program = fingerprint()
    done = _prepare(table, program)
    missing = [job for job in jobs if job.key not in done]
    report.say(f"{len(jobs)} runs, {len(jobs) - len(missing)} of them done; table: {table}")
    groups = [list(group) for _, group in groupby(missing, key=lambda job: (job.anatomy, job.case))]
    work = partial(run_group, data=data, table=table, program=program)
    if processes == 1:
        for group in groups:
            work(group)
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(work, groups))
    return read_rows(table)


def plan_runs(
    anatomies: Sequence[str],
    cases: Iterable[str],
    spacings: Sequence[int],
    seeds: Sequence[int],
    thorough: bool = False,
) -> list[TruthRun]:
    """Every run, those of one anatomy and case together, coarse grids first.

    Every case at the finest and the coarsest spacing; at the coarsest also other presets, swapped visits for
    one case of each kind, and noisy labels for every case. The first anatomy has the spacings between, and
    swapped and some noisy runs at the finest; when ``thorough`` every one has them, and every preset each
    spacing.
    """
    jobs, fine_first = [], sorted(spacings)
    for anatomy in anatomies:
        whole = thorough or anatomy == anatomies[0]
        clean = fine_first[::-1] if whole else sorted({fine_first[0], fine_first[-1]}, reverse=True)
        extra = sorted({fine_first[0], fine_first[-1]} if whole else {fine_first[-1]}, reverse=True)
        for case in cases:
            if case == RIGID:
                jobs += [TruthRun(anatomy, case, spacing) for spacing in clean]
                continue
            noisy = extra if thorough or case in NOISY_CASES else extra[:1]
            jobs += _of_case(anatomy, case, clean, extra, noisy, seeds, fine_first if thorough else extra[:1])
    return jobs


def _of_case(
    anatomy: str,
    case: str,
    clean: Sequence[int],
    extra: Sequence[int],
    noisy: Sequence[int],
    seeds: Sequence[int],
    compared: Sequence[int],
) -> list[TruthRun]:
    """Clean runs at the spacings ``clean``, swapped at ``extra``, and the others at theirs; ``compared`` are
    those of other presets."""
    preset, others = CASES[case].preset, CASES[case].others
    jobs = [TruthRun(anatomy, case, spacing, preset=preset) for spacing in clean]
    jobs += [TruthRun(anatomy, case, spacing, preset=other) for other in others for spacing in compared]
    jobs += [TruthRun(anatomy, case, spacing, seed, preset=preset) for seed in seeds for spacing in noisy]
    if case in SWAPPED_CASES:
        jobs += [TruthRun(anatomy, case, spacing, visits=SWAPPED, preset=preset) for spacing in extra]
    return jobs


def left_out(rows: pd.DataFrame, options: argparse.Namespace) -> list[TruthRun]:
    """The runs of a thorough benchmark that are missing from ``rows``."""
    done = set(rows[list(KEY)].astype(str).itertuples(index=False, name=None))
    jobs = plan_runs(list(ANATOMIES), [*CASES, RIGID], SPACINGS, options.noise or [1], thorough=True)
    return [job for job in jobs if job.key not in done]


def run_group(jobs: Sequence[TruthRun], data: Path, table: Path, program: str) -> None:
    """Run jobs one after the other; each adds its row to the table when it is done."""
    for job in jobs:
        measure = truth_rigid.measure if job.case == RIGID else truth_runs.measure
        try:
            row = measure(job, data)
        except Divergence as failure:
            row = dict(zip(KEY, job.key, strict=True)) | {"failure": str(failure)}
        row |= {"program": program}
        append(table, row)
        report.say(truth_report.line(row))


def append(table: Path, row: dict[str, Any]) -> None:
    """Add a row to the table; other processes may do the same."""
    text = pd.DataFrame([row], columns=list(COLUMNS)).to_csv(header=False, index=False, float_format="%.6g")
    with table.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text)


def read_rows(table: Path) -> pd.DataFrame:
    """The table; what names a row is text, and the case called null is no missing number."""
    rows = pd.read_csv(
        table, dtype=dict.fromkeys((*KEY, "failure"), str), keep_default_na=False, na_values=[""]
    )
    return rows.fillna({"noise": "", "failure": ""})


def _prepare(table: Path, program: str) -> set[tuple[str, ...]]:
    """Make the table ready for more rows, without those of another program; returns the keys it holds."""
    rows = read_rows(table) if table.is_file() else pd.DataFrame(columns=list(COLUMNS))
    kept = rows[rows["program"] == program] if set(COLUMNS) <= set(rows.columns) else rows.iloc[:0]
    atomic.write_csv(table, kept.reindex(columns=list(COLUMNS)), float_format="%.6g")
    return {tuple(str(value) for value in key) for key in kept[list(KEY)].itertuples(index=False)}


def fingerprint() -> str:
    """A hash of what the figures depend on: numerics, phantoms, smoothing, defaults and presets.

    Of a program its statements count, of the settings what they may be: a comment, a docstring or a
    description may change.
    """
    root, source = paths.repository(), Path(paths.__file__).parent
    folders = [source / name for name in ("numerics", "demo", "maps", "stages")]
    folders += [root / "benchmarks" / "phantoms"]
    files = [file for folder in folders for file in folder.glob("*.py")]
    files += [paths.schema("config"), *paths.presets().glob("*.yaml")]
    files += [root / "benchmarks" / "truth_runs.py", root / "benchmarks" / "truth_rigid.py"]
    texts = [_statements(file) if file.suffix == ".py" else _values(file) for file in sorted(files)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


class _Silent(ast.NodeTransformer):
    """Removes standalone strings, such as docstrings."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """Drop a standalone string."""
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.copy_location(ast.Pass(), node) if alone else node


def _statements(file: Path) -> str:
    """A Python file without comments and docstrings."""
    return ast.unparse(_Silent().visit(ast.parse(file.read_text("utf-8"))))


def _values(file: Path) -> str:
    """A YAML file without comments and descriptions."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items() if key != "description"}
        return value

    return json.dumps(plain(yaml.safe_load(file.read_text("utf-8"))), sort_keys=True)


def _planned(options: argparse.Namespace) -> list[TruthRun]:
    if options.quick:
        return list(QUICK)
    there = available(options.data)
    wanted = list(there) if options.anatomies == ["all"] else options.anatomies
    names = [name for name in wanted if name in there]
    for name in set(wanted) - set(names):
        report.say(f"left out: the anatomy {name} is not in {options.data}; there are: {', '.join(there)}")
    jobs = plan_runs(names, options.cases, options.spacing, options.noise, options.thorough)
    return [job for job in jobs if job.visits == FORWARD or not options.no_swap]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__.split("\n")[0])
    cases = [*CASES, RIGID]
    add = parser.add_argument
    add("--spacing", type=int, nargs="+", default=list(SPACINGS), metavar="MM")
    add("--cases", nargs="+", default=cases, choices=cases, metavar="CASE", help=f"of {', '.join(cases)}")
    add("--anatomies", nargs="+", default=list(ANATOMIES), metavar="NAME", help="by name, or all")
    add("--no-swap", action="store_true", help="leave out the swapped visits")
    add("--thorough", action="store_true", help="every spacing, preset, noise and swap on every anatomy")
    add("--quick", action="store_true", help="a few cases at 4 mm on the shipped anatomy")
    add_common(parser, None)
    return parser


def add_common(parser: argparse.ArgumentParser, out: Path | None) -> None:
    """Add the options of every benchmark on phantoms; ``out`` is where its report goes by default."""
    add = parser.add_argument
    add("--noise", type=int, nargs="*", default=[1], metavar="SEED", help="seeds of flipped labels")
    add("--jobs", type=int, default=1, metavar="N", help="processes side by side, one thread each")
    add("--data", type=Path, default=default_data(), metavar="FOLDER", help="public data")
    add("--out", type=Path, default=out, metavar="FILE", help="the report; the table lies beside it")


if __name__ == "__main__":
    sys.exit(main())
