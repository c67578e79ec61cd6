"""Draw one picture of a pair: before, after, what moved and what changed class."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph.steps.figure import figure

    classes = snakemake.config["longimorph"]["classes"]
    figure(snakemake.params.pair, classes, Path(snakemake.output[0]).parent)
