"""Combine the visits of all patients, with the further columns of the cohort table."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.cohort_visits import cohort_visits

    p = snakemake.params
    cohort_visits(p.patients, p.further, p.cells, p.classes, Path("results"))
