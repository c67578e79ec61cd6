"""The choice of a GPU for a registration, and its refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import write_study

from longimorph.errors import InputError
from longimorph.footprint import LADDERS
from longimorph.memory.model import Size
from longimorph.numerics import memory_strategies
from longimorph.orchestration.placement import Placement, device_bytes, place, usable_bytes
from longimorph.orchestration.resources import Needs
from longimorph.study import study as studies
from longimorph.study.gpus import RESOURCES, Gpu

tables = st.lists(st.floats(0.1, 200), max_size=6).map(
    lambda sizes: tuple(Gpu(f"g{i}", size, "gpus=1") for i, size in enumerate(sizes))
)
sizes = st.builds(
    lambda voxels, classes, steps: Size(voxels * classes * 4, classes, steps),
    st.integers(1000, 60_000_000),
    st.integers(2, 40),
    st.integers(1, 40),
)


def holds(gpu: Gpu, size: Size, strategy: str) -> bool:
    """Whether a card holds a registration."""
    return device_bytes(size, strategy) <= usable_bytes(gpu)


def test_the_ladders_are_those_of_the_numerics() -> None:
    for device, names in LADDERS.items():
        assert names == tuple(rung.name for rung in memory_strategies.ladder(device))


@given(tables, sizes, st.sampled_from(["auto", "cuda"]))
def test_the_smallest_card_for_the_fastest_strategy_else_the_largest_with_a_leaner_one(
    gpus: tuple[Gpu, ...], size: Size, device: str
) -> None:
    found = place(size, gpus, device)
    roomy = [gpu for gpu in gpus if holds(gpu, size, "store")]
    largest = max((gpu.memory_gb for gpu in gpus), default=0)
    if roomy:
        assert found is not None and found.gpu is not None and found.strategy == "store"
        assert found.gpu.memory_gb == min(gpu.memory_gb for gpu in roomy)
    elif found is None or found.gpu is None:
        assert not any(holds(gpu, size, name) for gpu in gpus for name in LADDERS["cuda"])
    else:
        rung = LADDERS["cuda"].index(found.strategy)
        assert found.gpu.memory_gb == largest and holds(found.gpu, size, found.strategy)
        assert not any(holds(found.gpu, size, name) for name in LADDERS["cuda"][:rung])


@given(tables, sizes)
def test_only_a_card_that_is_a_must_can_be_refused(gpus: tuple[Gpu, ...], size: Size) -> None:
    auto, must = place(size, gpus, "auto"), place(size, gpus, "cuda")
    assert auto is not None
    assert must == (auto if auto.device == "cuda" else must)
    if must is None:
        assert gpus and auto.device == "cpu"
    assert place(size, gpus, "cpu") == place(size, (), "auto")


@given(sizes, st.integers(2, 4))
def test_more_voxels_never_need_less(size: Size, factor: int) -> None:
    larger = Size(size.map_bytes * factor, size.classes, size.steps)
    small, large = (place(s, (), "cpu") for s in (size, larger))
    assert isinstance(small, Placement) and isinstance(large, Placement)
    assert small.host_bytes < large.host_bytes


def study(folder: Path, table: str, **settings: object) -> studies.Study:
    """A study with a table of cards."""
    config = write_study(folder)
    (folder / "gpus.tsv").write_text("name\tmemory_gb\trequest\tpartition\tspeed\n" + table)
    lines = [f"{key}: {value}\n" for key, value in {"gpus": "gpus.tsv", **settings}.items()]
    config.write_text(config.read_text() + "".join(lines))
    return studies.load_study(config)


ONE = "t4\t16\tgres=gpu:t4:1\tgpuq\t10\n"
TOO_SMALL = "toy\t0.605\tgpus=1\t\t\n"


def test_a_registration_asks_for_its_card(tmp_path: Path) -> None:
    needs = Needs(study(tmp_path, ONE))
    pair = needs.study.plan.pairs[0]
    assert dict(needs.card(pair)) == {"gres": "gpu:t4:1", "slurm_partition": "gpuq"}
    assert needs.device(pair) == "auto"
    assert needs.card_resources() == ["gres", "slurm_partition"]
    assert set(needs.card_resources()) <= set(RESOURCES)


def test_a_pair_that_fits_no_card_runs_on_a_processor_and_says_so(tmp_path: Path) -> None:
    needs = Needs(study(tmp_path, TOO_SMALL, spacing_mm=0.1))
    pair = needs.study.plan.pairs[0]
    assert (needs.placed(pair).device, needs.device(pair), dict(needs.card(pair))) == ("cpu", "cpu", {})
    assert needs.refusals() == []


def test_without_a_table_nothing_is_asked_for_unless_a_card_is_a_must(tmp_path: Path) -> None:
    config = write_study(tmp_path)
    needs = Needs(studies.load_study(config))
    pair = needs.study.plan.pairs[0]
    assert (dict(needs.card(pair)), needs.card_resources(), needs.device(pair)) == ({}, [], "auto")
    config.write_text(config.read_text() + "device: cuda\n")
    needs = Needs(studies.load_study(config))
    assert (dict(needs.card(pair)), needs.card_resources(), needs.device(pair)) == (
        {"gpu": 1},
        ["gpu"],
        "cuda",
    )


def test_the_refusal_names_the_pairs_and_a_voxel_size_at_which_they_fit(tmp_path: Path) -> None:
    needs = Needs(study(tmp_path, TOO_SMALL, spacing_mm=0.1, device="cuda"))
    pair = needs.study.plan.pairs[0]
    (problem,) = needs.refusals()  # both pairs have one size
    assert "P1 m0__m6 and 1 more" in str(problem) and "toy" in str(problem)
    fits = float(re.search(r"spacing_mm: ([\d.]+)", str(problem))[1])
    with pytest.raises(InputError):
        needs.placed(pair)
    for spacing, refused in ((fits, 0), (round(fits - 0.1, 1), 1)):
        again = Needs(study(tmp_path, TOO_SMALL, spacing_mm=spacing, device="cuda"))
        assert len(again.refusals()) == refused, spacing


def test_the_speed_of_a_card_shortens_the_time(tmp_path: Path) -> None:
    slow, fast = (Needs(study(tmp_path, text, spacing_mm=0.2)) for text in (ONE.replace("\t10", "\t1"), ONE))
    pair = slow.study.plan.pairs[0]
    assert fast.seconds(pair) - 10 == pytest.approx((slow.seconds(pair) - 10) / 10)


def test_more_steps_take_longer_and_more_memory(tmp_path: Path) -> None:
    few, many = (Needs(study(tmp_path, ONE, device="cpu", spacing_mm=0.1, steps=n)) for n in (5, 40))
    pair = few.study.plan.pairs[0]
    assert few.register(pair).mem_mb < many.register(pair).mem_mb
    assert few.seconds(pair) < many.seconds(pair)
