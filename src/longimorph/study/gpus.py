"""The kinds of GPUs that a cluster offers, ``gpus.tsv``, and how to request each of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longimorph.errors import InputError, Problem
from longimorph.study import tsv
from longimorph.study.schema import shown
from longimorph.study.table import parse_number
from longimorph.study.tsv import Table, TableRow

REQUIRED = ("name", "memory_gb", "request")
OPTIONAL = ("constraint", "partition", "speed")

RESOURCES = ("gpu", "gpu_model", "gres", "constraint", "slurm_partition")
"""The Snakemake resources by which a job requests a GPU."""

_NAME = re.compile(r"\w[\w .+-]{0,49}")
_GRES = re.compile(r"gres=\w+(:[\w.]+)?(:\d+)?")
_GPUS = re.compile(r"gpus=(?:([A-Za-z_][\w.]*)(?::1)?|1)")
_MOST_GB = 10_000


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU: its memory in GB (10^9 bytes), and how a job requests one.

    ``speed`` is the assumed speed-up of a registration relative to one CPU thread.
    """

    name: str
    memory_gb: float
    request: str
    constraint: str = ""
    partition: str = ""
    speed: float = 1.0

    @property
    def resources(self) -> Mapping[str, str | int]:
        """The job's request, by the names of Snakemake's resources."""
        asked: dict[str, str | int] = {}
        option, _, value = self.request.partition("=")
        if option == "gres":
            asked["gres"] = value
        elif option == "gpus":
            asked["gpu"] = 1
            model = value.partition(":")[0]
            asked |= {"gpu_model": model} if model != "1" else {}
        for name, text in (("constraint", self.constraint), ("slurm_partition", self.partition)):
            asked |= {name: text} if text else {}
        return asked


def load_gpus(file: Path | str) -> tuple[Gpu, ...]:
    """Read the table ``file``; raises InputError with all its problems."""
    gpus, problems = examine_gpus(Path(file))
    if problems:
        raise InputError(problems)
    return gpus


def examine_gpus(file: Path) -> tuple[tuple[Gpu, ...], list[Problem]]:
    """Read the table: the usable kinds of GPUs, in the order of their rows, and all problems."""
    table, problems = tsv.read_tsv(file, REQUIRED + OPTIONAL)
    if table is None:
        return (), problems
    problems += tsv.check_columns(table, REQUIRED, OPTIONAL)
    if any(column not in table.columns for column in REQUIRED):
        return (), problems
    gpus: list[Gpu] = []
    for row in table.rows:
        found = _problems(table, row, [gpu.name for gpu in gpus])
        problems += found
        if not found:
            gpus.append(_gpu(row))
    return tuple(gpus), sorted(problems, key=lambda problem: problem.row or 0)


def _gpu(row: TableRow) -> Gpu:
    words = (row["name"], float(row["memory_gb"]), row["request"], row["constraint"], row["partition"])
    return Gpu(*words, float(row["speed"] or 1))


def _problems(table: Table, row: TableRow, earlier: list[str]) -> list[Problem]:
    """Return the problems of the cells of one row."""
    checks = (
        ("name", *_name_fault(row["name"], earlier)),
        ("memory_gb", *_number_fault(row["memory_gb"], _MOST_GB, "the GPU's memory in GB, such as 40")),
        ("request", *_request_fault(row["request"])),
        ("constraint", *_word_fault(row["constraint"], "a feature of the nodes, such as a100")),
        ("partition", *_word_fault(row["partition"], "the name of a partition, such as gpu")),
        ("speed", *(_number_fault(row["speed"], 10_000, _SPEED) if row["speed"] else (None, None))),
    )
    return [
        Problem(table.name, message, row.line, column, shown(row[column]) or None, expected)
        for column, message, expected in checks
        if message is not None
    ]


_SPEED = "how many times faster than one CPU thread the GPU is, such as 20"

Fault = tuple[str | None, str | None]
"""What is wrong and what is expected; (None, None) if nothing is wrong."""


def _name_fault(text: str, earlier: list[str]) -> Fault:
    if not text:
        return "is empty", "a name for this type of GPU"
    if text in earlier:
        return "is already in a row above", "one row per type of GPU"
    return (None, None) if _NAME.fullmatch(text) else ("is not a valid name", "only letters, digits and _.+-")


def _number_fault(text: str, most: float, expected: str) -> Fault:
    value = parse_number(text)
    if value is None:
        return ("is not a number" if text else "is empty"), expected
    return (None, None) if 0 < value <= most else (f"is not above 0 and at most {most}", expected)


def _request_fault(text: str) -> Fault:
    if not text or _GRES.fullmatch(text) or _GPUS.fullmatch(text):
        return None, None
    expected = "one GPU: gres=gpu:1, gres=gpu:TYPE:1, gpus=1 or gpus=TYPE:1 (TYPE: letters, digits, _ .)"
    return (
        "cannot be passed on to the cluster",
        f"{expected}, or empty if another column gives it",
    )


def _word_fault(text: str, expected: str) -> Fault:
    return ("contains a space or a quote", expected) if re.search(r"[\s'\"]", text) else (None, None)
