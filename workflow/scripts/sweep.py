"""Put the registrations of a sweep into one table and one page."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph.steps.sweep import sweep

    p, out = snakemake.params, snakemake.output
    sweep(p.combinations, p.pairs, Path(out.table), Path(out.page))
