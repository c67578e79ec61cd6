"""Each bad input is reported in words, immediately, and affects only what depends on it."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import bad_files
import bad_settings
import bad_tables
import pytest
from faults import FINE, PATIENT, VISIT, Fault, Place, copy, write_study
from heads import SETTINGS

from longimorph.cli.main import main
from longimorph.errors import InputError
from longimorph.orchestration.parameters import visit_record
from longimorph.stages.align import align
from longimorph.stages.maps import maps
from longimorph.stages.visits import read_json
from longimorph.study import study as studies
from longimorph.tables import read_changes

FAULTS = (*bad_files.FAULTS, *bad_tables.FAULTS, *bad_settings.FAULTS)
AT_ONCE_S = 10
END = f" These will fail unless the input changes:\n  {PATIENT} V1 to {VISIT}: {VISIT} cannot be used"
NO_LIMITS = {"overlap_min": 0.0, "coverage_min": 0.0, "metric_min": 0.0}
CHOSEN = SETTINGS | {"reference": "none", "spacing_mm": 8.0, "smoothing_mm": 4.0}

each = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
of_visits = pytest.mark.parametrize("fault", [f for f in FAULTS if f.code], ids=lambda fault: fault.name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The study before any fault."""
    return write_study(tmp_path_factory.mktemp("whole") / "study")


@pytest.fixture
def place(whole: Place, tmp_path: Path) -> Place:
    """A study to break."""
    return copy(whole, tmp_path / "study")


def blamed(text: str) -> set[str]:
    """The visits whose scans cannot be used, by what was told."""
    return {m[1] for m in re.finditer(r"^note: (\S+ \S+): .* \((?:align|maps): \w+\)$", text, re.MULTILINE)}


def test_there_are_many_and_each_has_its_name() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 60


def test_the_whole_study_has_no_fault(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(place.config)]) == 0
    assert blamed(capsys.readouterr().out) == set()


@each
@pytest.mark.timeout(60)
def test_it_is_told_at_once(fault: Fault, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    fault.spoil(place)
    began = time.monotonic()
    status = main(["check", str(place.config)])
    seconds = time.monotonic() - began
    told = capsys.readouterr()
    text = told.out + told.err
    assert status == fault.status, text
    assert seconds < AT_ONCE_S
    assert "Traceback" not in text
    assert blamed(text) == ({f"{PATIENT} {VISIT}"} if fault.fails else set())
    assert [word for word in fault.words if word not in text] == [], text
    if fault.fails:
        assert f": {fault.code})" in text, text
        assert f"1 of 2 pairs can run.{END}" in text
    if status == 0:
        assert told.out.endswith("2 pairs of 2 patients can run.\n")
    if status == 2:
        assert "nothing was run" in text


@of_visits
@pytest.mark.timeout(60)
def test_its_pair_fails_and_the_other_visit_stands(fault: Fault, place: Place, tmp_path: Path) -> None:
    from longimorph.stages.register import register

    fault.spoil(place)
    study = studies.load_study(place.config)
    tables, out = str(study.config.classes), tmp_path / "results"
    visits = [visit_record(visit) for visit in study.cohort.visits_of(PATIENT)]
    align(PATIENT, visits, tables, out, CHOSEN)
    for visit in visits:
        maps(visit, tables, out / "alignment.json", out / visit["timepoint"], CHOSEN)
    folders = [out / str(visit["timepoint"]) for visit in visits]
    assert [read_json(folder / "qc.json")["status"] for folder in folders] == [FINE, fault.code]
    assert [(folder / "simplex.nii.gz").exists() for folder in folders] == [True, not fault.fails]
    if fault.fails:
        pair = {"patient": PATIENT, "from": "V1", "to": VISIT}
        qcs = (folder / "qc.json" for folder in folders)
        register(pair, tables, study.config.control, *qcs, out / "pair", CHOSEN)  # type: ignore[arg-type, call-arg]
        status = read_json(out / "pair" / "status.json")
        assert (status["status"], status["timepoint"]) == (fault.code, VISIT)
        told = f"{PATIENT} {VISIT}: {status['message']}"
        assert [word for word in fault.words if word not in told] == []
        assert read_changes(out / "pair" / "changes.csv").filter(like="_mm3").isna().all(axis=None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.parametrize("name", ["scan", "cohort", "config"])
def test_a_file_that_may_not_be_read_is_named(name: str, whole: Place, open_folder: Path) -> None:
    place = copy(whole, open_folder / "study")
    files = {"scan": place.scan(), "cohort": place.table("cohort"), "config": place.config}
    files[name].chmod(0)
    root = os.geteuid() == 0
    try:
        if root:  # reads anything: become nobody for a moment
            os.setresuid(65534, 65534, 0)
        with pytest.raises(InputError, match=r"(?i)permission") as error:
            studies.load_study(place.config)
    finally:
        if root:
            os.setresuid(0, 0, 0)
    assert str(files[name].name) in str(error.value)
