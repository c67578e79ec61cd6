"""The comparison with other programs: its score, its table, and its text on a missing program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import environments
from benchmarks.environments import Unavailable
from benchmarks.peers import compare, scoring, table
from benchmarks.peers.scoring import ALONE, OURS, Result
from benchmarks.phantoms.maps import make_pair
from longimorph.study.config import defaults

NAMES = {OURS: OURS, "ants": "ANTs SyN", "greedy": "greedy"}


def test_a_true_deformation_scores_zero_and_no_deformation_its_share() -> None:
    deformation, reallocation = np.array([30.0, -30.0, 0.0]), np.array([0.0, -10.0, 10.0])
    assert scoring.false_deformation(deformation, deformation, reallocation) == 0
    assert scoring.false_deformation(np.zeros(3), deformation, reallocation) == pytest.approx(75)


def test_deformation_is_the_warped_volume_less_the_unwarped_in_mm3() -> None:
    source = np.zeros((2, 3, 3, 3), np.float32)
    source[1] = 1
    warped = source.copy()
    warped[:, 0, 0, 0] = 0.75, 0.25
    assert scoring.deformation_of(source, warped, 2.0) == pytest.approx([6, -6])


def test_the_table_says_where_longimorph_is_not_the_lowest() -> None:
    results = [
        Result("a", OURS, 4000, 2.0, 10),
        Result("a", "ants", 4000, 6.0, 70),
        Result("b", OURS, 4000, 5.0, 10),
        Result("b", "ants", 4000, 1.4, 70),
    ]
    text = scoring.markdown(results, NAMES)
    assert "| a | 4.0 mL | 2.0 %, 10 s | 6.0 %, 70 s | pending |" in text
    assert "On b longimorph is not the lowest: ANTs SyN." in text
    assert "On a " not in text
    assert "The run is not finished: 2 results" in text
    assert "on every phantom" not in scoring.markdown(results[:2], NAMES)
    assert "on every phantom" in scoring.markdown(results[:2], {OURS: OURS, "ants": "ANTs SyN"})


def test_the_table_says_which_program_is_missing_and_why() -> None:
    results = [Result("a", OURS, 4000, 2.0, 10), Result("a", "greedy", 4000, missing="no wheel for it")]
    text = scoring.markdown(results, NAMES)
    assert "not run" in text
    assert "Not measured: greedy: no wheel for it." in text


def test_a_program_that_cannot_be_installed_is_reported_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(command: list[str], variables: dict[str, str]) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no such version\nERROR: more\n")

    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / ".bench")
    monkeypatch.setattr(environments.venv, "create", lambda *_, **__: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(environments, "_run", refuse)
    with pytest.raises(Unavailable, match="greedy cannot be installed: ERROR: no such version"):
        environments.python("greedy")
    truth = SimpleNamespace(deformation=np.array([1.0, -1.0]), reallocation=np.zeros(2))
    result = compare.measured(
        compare.Phantom("both", 4),
        "greedy",
        SimpleNamespace(truth=truth),  # type: ignore[arg-type]
        lambda: environments.python("greedy"),  # type: ignore[arg-type, return-value]
    )
    assert result.missing == "greedy cannot be installed: ERROR: no such version"


def test_the_draws_of_a_noise_are_averaged_for_programs_that_ran_on_all() -> None:
    errors = {OURS: (2.0, 4.0), "ants": (3.0, 5.5), "demeter": (9.0, None)}
    results = [Result("clean", name, 4000.0, 1.0, 1.0) for name in errors]
    results += [
        Result(f"noisy ({draw})", name, 4000.0, missing="-")
        if values[draw - 1] is None
        else Result(f"noisy ({draw})", name, 4000.0, values[draw - 1], 1.0)
        for draw in (1, 2)
        for name, values in errors.items()
    ]
    text = scoring.markdown(results, {OURS: OURS, "ants": "ANTs", "demeter": "demeter"})
    assert "Means over the 2 draws of noisy: longimorph 3.0 %, ANTs 4.2 %." in text
    assert "draws of clean" not in text


def test_every_peer_has_an_environment_and_a_script() -> None:
    for peer in compare.PEERS.values():
        assert peer.environment in environments.ENVIRONMENTS
        assert (compare.SCRIPTS / peer.script).is_file()


def test_a_program_that_fails_says_its_last_words() -> None:
    failed = subprocess.CalledProcessError(1, ["x"], stderr="Traceback\nValueError: empty image\n")
    assert environments.reason(failed) == "ValueError: empty image"
    assert environments.reason(subprocess.TimeoutExpired(["x"], 900)) == "it took more than 900 s"


def test_a_broken_off_run_goes_on_with_the_phantoms_that_have_no_result_of_every_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []

    def run(chosen: list[compare.Phantom], peers: list[str], *_: object) -> list[Result]:
        ran[:] = [str(phantom) for phantom in chosen]
        return [Result(str(one), name, 4000.0, 2.5, 10.0) for one in chosen for name in (OURS, ALONE, *peers)]

    everything = run(compare.phantoms(quick=False), ["greedy"])
    page = tmp_path / "peers.md"
    arguments = ["--peers", "greedy", "--out", str(page)]
    monkeypatch.setattr(compare, "run", lambda *given: run(*given)[:5])
    assert compare.main(arguments) == 0
    monkeypatch.setattr(compare, "run", run)
    assert compare.main(arguments) == 0
    assert ran == [result.phantom for result in everything[3::3]]
    program = f"{compare.fingerprint()} {compare.DEMETER['iterations']}"  # type: ignore[attr-defined]
    assert sorted(map(str, table.read_rows(page.with_suffix(".csv"), program))) == sorted(
        map(str, everything)
    )
    assert page.read_text(encoding="utf-8").count(" | ".join(["2.5 %, 10 s"] * 3)) == len(everything) // 3
    monkeypatch.setattr(compare, "fingerprint", lambda: "of other settings")
    compare.main(arguments)
    assert len(ran) == len(everything) // 3


def test_what_failed_is_tried_again_and_what_cannot_be_measured_is_not() -> None:
    results = [Result("a", OURS, 4000, 2.0, 10), Result("a", "ants", 4000, missing="-")]
    assert table.complete(results, "a", [OURS, "ants"]) == results
    assert (
        table.complete(
            [*results, Result("a", "greedy", 4000, missing="it failed")], "a", [OURS, "ants", "greedy"]
        )
        == []
    )
    assert table.complete(results, "b", [OURS]) == []


def test_longimorph_runs_as_the_pipeline_does_and_the_matrix_alone_registers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Free pairs of classes reach the registration; the matrix splits the difference of the maps."""
    pair = make_pair("oedema15", 8)
    maps = pair.simplex(defaults().smoothing_mm, defaults().floor)
    given: list[Any] = []

    def noted(*_: Any, free: Any) -> Any:
        given.append(free)
        return SimpleNamespace(attribution=SimpleNamespace(deformation=torch.zeros(6, 2, 2, 2)))

    with monkeypatch.context() as patch:
        patch.setattr(compare, "register", noted)
        compare._longimorph(pair, maps)
        moved, _ = compare._matrix_alone(pair, maps)
    assert len(given) == 1 and given[0] and given[0][0].lesions
    change = (maps[1] - maps[0]).sum((1, 2, 3)) * pair.grid.voxel_volume
    assert np.abs(moved).max() < 0.001 * np.abs(change).max()
