"""Combine the tables of all patients, with sums by region and by state."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.cohort_tables import cohort_tables

    p = snakemake.params
    cohort_tables(p.patients, p.classes, Path("results"), p.repeats)
