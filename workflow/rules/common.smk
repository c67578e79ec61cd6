import sys

from longimorph import encoding
from longimorph.errors import InputError
from longimorph.orchestration import deploy, queue, restart, slurm, start
from longimorph.orchestration.parameters import (
    VERSIONS,
    Jobs,
    files,
    logged,
    pair_record,
    pair_row,
    visit_record,
)
from longimorph.orchestration.contents import marks
from longimorph.orchestration.resources import Needs
from longimorph.orchestration.progress_text import closing

encoding.forgive()
deploy.offer()
try:
    STUDY = start.begin(workflow, config)
except InputError as problems:
    sys.exit(f"longimorph: {problems}")

JOBS = Jobs(STUDY)
NEEDS = Needs(STUDY)
ENVIRONMENT = f"../../envs/{'gpu' if NEEDS.cards_wanted else 'cpu'}.yaml"


def of_pairs(patient, names):
    """The named files of every pair of a patient."""
    folder = f"results/patients/{patient}"
    return [
        f"{folder}/{pair.name}/{name}"
        for pair in JOBS.pairs_of(patient)
        for name in names
    ]


def of_repeats(names):
    """The named files of every pair of a visit and its repeat."""
    return [
        f"results/patients/{pair.patient}/{pair.name}/{name}"
        for pair in JOBS.repeats
        for name in names
    ]


# With enough repeated scans, the noise floors of every patient come from those of the whole cohort.
FLOORS = {"floors": "results/cohort/floors.csv"} if JOBS.floors_measured else {}


def qc_of(visit):
    """The record of a visit's maps."""
    return f"results/patients/{visit.patient}/{visit.timepoint}/qc.json"


def template_record(patient):
    """The record of a patient's registration to the template; none in a study without one."""
    known = JOBS.template_files
    return [f"results/patients/{patient}/template.json"] if known else []


def asking(need):
    """What a job asks for; more memory and time with each attempt.

    Where a profile gives the jobs of a patient to the cluster as one, it limits ``in_turn`` to 1: they are
    then reckoned, and run, one after the other.
    """
    return {
        "mem_mb": lambda w, attempt: attempt * need(w).mem_mb,
        "runtime": lambda w, attempt: attempt * need(w).minutes,
        "disk_mb": lambda w: need(w).disk_mb,
        "in_turn": 1,
    }


def asking_for_card():
    """The resources by which registrations ask for GPUs, and the device that each is to take."""
    names = NEEDS.card_resources()
    return {"device": lambda w: NEEDS.device(JOBS.pair(w.patient, w.pair))} | {
        name: of_card(name) for name in names
    }


def of_card(name):
    """One resource of a registration's GPU; the profile's default where the GPU leaves it open."""
    default = (workflow.resource_settings.default_resources or {}).get(name)

    def asked(wildcards, input, attempt, threads, rulename, async_run):
        own = NEEDS.card(JOBS.pair(wildcards.patient, wildcards.pair)).get(name)
        if own is not None or default is None:
            return own
        known = {"input": input, "attempt": attempt, "threads": threads}
        known |= {"rulename": rulename, "async_run": async_run}
        return default.evaluate(wildcards, **known).value

    return asked


def before_jobs(workflow):
    """End this run before its first job where that would repeat what another one is doing."""
    executor = workflow.executor_plugin
    if executor and executor.name == "slurm" and (warning := slurm.settle_plugin()):
        print(f"longimorph: {warning}", file=sys.stderr)
    if executor and executor.name == "cluster-generic":
        queue.put_on_path()
    try:
        restart.check_earlier_run(workflow)
    except restart.Refused as reason:
        sys.exit(f"longimorph: {reason}")


wildcard_constraints:
    patient="[A-Za-z0-9_-]+",
    timepoint="[A-Za-z0-9_-]+",
    pair="[A-Za-z0-9_-]+__[A-Za-z0-9_-]+",
