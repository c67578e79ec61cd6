import sys

from longimorph.errors import InputError
from longimorph.jobs import start
from longimorph.jobs.catalogue import (
    VERSIONS,
    Jobs,
    files,
    log_files,
    pair_record,
    pair_row,
    visit_record,
)
from longimorph.jobs.needs import Needs
from longimorph.jobs.progress_text import closing

try:
    STUDY = start.begin(workflow, config)
except InputError as problems:
    sys.exit(f"longimorph: {problems}")

JOBS = Jobs(STUDY)
NEEDS = Needs(STUDY)
ENVIRONMENT = f"../../envs/{'gpu' if STUDY.config.device == 'cuda' else 'cpu'}.yaml"


def of_pairs(patient, names):
    """The named files of every pair of a patient."""
    folder = f"results/patients/{patient}"
    return [
        f"{folder}/{pair.name}/{name}"
        for pair in JOBS.pairs_of(patient)
        for name in names
    ]


def qc_of(visit):
    """The record of a visit's maps."""
    return f"results/patients/{visit.patient}/{visit.timepoint}/qc.json"


wildcard_constraints:
    patient="[A-Za-z0-9_-]+",
    timepoint="[A-Za-z0-9_-]+",
    pair="[A-Za-z0-9_-]+__[A-Za-z0-9_-]+",
