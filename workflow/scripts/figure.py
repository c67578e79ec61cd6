"""Draw the figure of a pair: before, after, what moved and what changed class."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.figure import figure

    classes = snakemake.config["longimorph"]["classes"]
    figure(snakemake.params.pair, classes, Path(snakemake.output[0]).parent)
