"""Draw one picture of a pair: before, after, what moved and what changed its kind."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import steps

    steps.figure(snakemake.params.pair, snakemake.params.classes, Path(snakemake.output[0]).parent)
