"""The table of a cluster's GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_files import write_study

from longimorph import paths
from longimorph.errors import InputError
from longimorph.study import gpus, study

HEAD = "name\tmemory_gb\trequest\tconstraint\tpartition\tspeed\n"


def read(folder: Path, *rows: str) -> tuple[gpus.Gpu, ...]:
    """The table of these rows."""
    (folder / "gpus.tsv").write_text(HEAD + "\n".join(rows) + "\n")
    return gpus.load_gpus(folder / "gpus.tsv")


@pytest.mark.parametrize(
    "request_, resources",
    [
        ("gres=gpu:1", {"gres": "gpu:1"}),
        ("gres=gpu:a100:1", {"gres": "gpu:a100:1"}),
        ("gres=gpu:a100_1g.5gb:1", {"gres": "gpu:a100_1g.5gb:1"}),
        ("gpus=1", {"gpu": 1}),
        ("gpus=a100:1", {"gpu": 1, "gpu_model": "a100"}),
        ("gpus=a100", {"gpu": 1, "gpu_model": "a100"}),
        ("", {}),
    ],
)
def test_a_request_becomes_resources(tmp_path: Path, request_: str, resources: dict[str, object]) -> None:
    assert dict(read(tmp_path, f"x\t40\t{request_}")[0].resources) == resources


def test_constraint_partition_and_speed_are_optional(tmp_path: Path) -> None:
    gpu = read(tmp_path, "big\t79.5\tgres=gpu:1\ta100&fast\tgpu\t25")[0]
    assert dict(gpu.resources) == {"gres": "gpu:1", "constraint": "a100&fast", "slurm_partition": "gpu"}
    assert (gpu.memory_gb, gpu.speed) == (79.5, 25)
    (tmp_path / "short.tsv").write_text("name\tmemory_gb\trequest\nv100\t16\tgpus=1\n")
    assert gpus.load_gpus(tmp_path / "short.tsv") == (gpus.Gpu("v100", 16, "gpus=1"),)


@pytest.mark.parametrize(
    "row, column",
    [
        ("\t40\tgpus=1", "name"),
        ("a,b\t40\tgpus=1", "name"),
        ("a\t\tgpus=1", "memory_gb"),
        ("a\t0\tgpus=1", "memory_gb"),
        ("a\tforty\tgpus=1", "memory_gb"),
        ("a\tinf\tgpus=1", "memory_gb"),
        ("a\t40\tgpus=2", "request"),
        ("a\t40\tgpus=a-100:1", "request"),
        ("a\t40\tgpu:1", "request"),
        ("a\t40\t--gres=gpu:1", "request"),
        ("a\t40\tgres=gpu:a100:1 --exclusive", "request"),
        ("a\t40\tgpus=1\tx y", "constraint"),
        ("a\t40\tgpus=1\t\t'gpu'", "partition"),
        ("a\t40\tgpus=1\t\t\t-2", "speed"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(tmp_path: Path, row: str, column: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, "fine\t40\tgpus=1", row)
    (problem,) = error.value.problems
    assert (problem.row, problem.column) == (3, column)
    assert problem.expected


def test_every_problem_is_told_at_once_beside_those_of_other_tables(tmp_path: Path) -> None:
    config = write_study(tmp_path)
    (tmp_path / "gpus.tsv").write_text(HEAD + "a\t40\tgpus=1\na\t-1\tgpus=9\n")
    config.write_text(config.read_text() + "gpus: gpus.tsv\nspacing_mm: 0\n")
    with pytest.raises(InputError) as error:
        study.load_study(config)
    assert [problem.column for problem in error.value.problems] == [
        "spacing_mm",
        "name",
        "memory_gb",
        "request",
    ]


def test_a_misspelt_column_and_a_missing_table_are_told(tmp_path: Path) -> None:
    (tmp_path / "gpus.tsv").write_text("name\tmemory\trequest\nv100\t16\tgpus=1\n")
    with pytest.raises(InputError, match=r"memory_gb.*Is it the column 'memory'"):
        gpus.load_gpus(tmp_path / "gpus.tsv")
    with pytest.raises(InputError, match="file not found"):
        gpus.load_gpus(tmp_path / "nothing.tsv")


def test_the_table_starts_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    config = write_study(tmp_path)
    read(tmp_path, "v100\t16\tgres=gpu:v100:1")
    config.write_text(config.read_text() + "gpus: gpus.tsv\n")
    assert [gpu.name for gpu in study.load_study(config).gpus] == ["v100"]


@pytest.mark.parametrize("file", sorted(paths.repository().glob("*/**/gpus.tsv")), ids=str)
def test_shipped_tables_are_usable(file: Path) -> None:
    assert gpus.load_gpus(file)
