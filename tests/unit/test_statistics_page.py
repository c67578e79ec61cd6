"""docs/statistics.md as a notebook: its Python blocks run from the top to the bottom, and find the truth."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import mixed_models
from longimorph import tables
from longimorph.tables import columns

CLASSES = [{"class": name, "region": "", "state": ""} for name in ("ventricles", "background")]
FURTHER = ("age", "group", "scanner")
_PACKAGES = [name for name in ("statsmodels", "longcombat") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(_PACKAGES), reason=f"not installed (extra 'stats'): {_PACKAGES}")


def small_results(folder: Path) -> None:
    """A cohort of one patient, whose ``visits.csv`` the functions of longimorph write."""
    out = folder / "results" / "patients" / "001"
    names, volumes = {"patient": "001", "from": "V1", "to": "V2"}, np.array([2e4, 1e6])
    none = np.zeros((2, 2))
    found = tables.PairChanges(volumes, volumes, volumes * 0, volumes * 0, none, none, np.zeros((10, 2)))
    tables.write_pair(out / "V1__V2", names, [row["class"] for row in CLASSES], found)
    (out / "V1__V2" / "status.json").write_text(json.dumps({"status": "ok"}))
    record = {"status": "ok", "volumes_mm3": {"ventricles": 2e4, "background": 1e6}}
    for visit in ("V1", "V2"):
        (out / visit).mkdir()
        (out / visit / "qc.json").write_text(json.dumps(record))
    pair = {**names, "days": 365.25, "logs": {}}
    tables.patient_tables("001", [pair], [out / "V1__V2"], CLASSES, out)
    visits = [{"timepoint": "V1", "days": 0.0}, {"timepoint": "V2", "days": 365.25}]
    tables.write_patient_visits("001", visits, [pair], CLASSES, out)
    tables.cohort_tables([out], CLASSES, folder / "results" / "cohort")
    cells = {"001": {visit: ("70", "control", "A") for visit in ("V1", "V2")}}
    tables.write_cohort_visits([out], FURTHER, cells, CLASSES, folder / "results" / "cohort")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page leaves, after all of its blocks."""
    folder = tmp_path_factory.mktemp("page")
    small_results(folder)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, block in enumerate(mixed_models.blocks(), 1):
            exec(compile(block, f"docs/statistics.md, block {number}", "exec"), names)
    return names


def test_the_table_of_a_study_is_read_with_its_names_as_text(page: dict[str, Any]) -> None:
    assert page["usable"]["patient"].tolist() == ["001"] * 4
    assert set(page["usable"]["class"]) == {"ventricles", "background"}


def test_changes_beyond_the_noise_and_courses_are_read(page: dict[str, Any]) -> None:
    assert len(page["done"]) == 2 and page["beyond"].empty  # nothing changed
    assert page["courses"].loc[("001", "V2")].to_dict() == {"ventricles": 0.0, "background": 0.0}


def test_the_simulated_cohort_has_columns_of_visits_csv(page: dict[str, Any]) -> None:
    assert set(page["visits"].columns) <= {*columns.VISITS, *FURTHER}
    assert page["visits"]["patient"].nunique() == 200


def test_slopes_come_back_within_three_standard_errors_and_their_mean_within_five_percent(
    page: dict[str, Any],
) -> None:
    """For the three models of the page and both groups; the true slopes are 1.5 and 2.25 mL per year."""
    names = (mixed_models.SLOPE, mixed_models.DIFFERENCE)
    ratios = []
    for fitted in (page["fitted"], page["moved"], page["after_fitted"]):
        assert fitted.converged
        (controls, difference), errors = (fitted.params[[*names]], fitted.bse[[*names]])
        assert abs(controls - 1.5) < 3 * errors.iloc[0] and abs(difference - 0.75) < 3 * errors.iloc[1]
        ratios += [controls / 1.5, (controls + difference) / 2.25]
    assert abs(np.mean(ratios) - 1) < 0.05


def test_harmonisation_brings_the_scanners_to_one_level(page: dict[str, Any]) -> None:
    """Differences of level between scanners, in yearly changes of a class: 0.5 by design, and then none."""
    for name, slope in page["SLOPES"].items():
        levels = []
        for visits in (page["visits"], page["after"]):
            found = mixed_models.restricted_likelihood(page["volumes_model"](visits, name))
            apart = [1000 * value / slope for term, (value, _) in found.items() if term.startswith("scanner")]
            assert len(apart) == 3
            levels.append(float(np.abs(apart).max()))
        assert levels[0] > 0.3 and levels[1] < 0.1, name


def test_the_fit_of_the_benchmark_is_that_of_statsmodels(page: dict[str, Any]) -> None:
    for kind, fitted in (("volumes_model", page["fitted"]), ("deformation_model", page["moved"])):
        found = mixed_models.restricted_likelihood(page[kind](page["visits"], "ventricles"))
        for name in (mixed_models.SLOPE, mixed_models.DIFFERENCE):
            assert found[name][0] == pytest.approx(fitted.params[name], rel=1e-3)
    null = page["volumes_model"](page["simulate"](4, 0.0), "GM")
    own, theirs = mixed_models.restricted_likelihood(null), mixed_models.statsmodels_fit(null)
    assert own[mixed_models.DIFFERENCE][1] == pytest.approx(theirs[mixed_models.DIFFERENCE][1], abs=2e-3)
