"""Put the tables of all patients together, with sums by region and by state."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import tables

    patients = [Path("results/patients", name) for name in snakemake.params.patients]
    tables.cohort_tables(patients, snakemake.params.classes, Path("results/cohort"))
