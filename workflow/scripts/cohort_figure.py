"""Draw one picture of the cohort: the memory that was predicted and the memory that was taken."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.cohort_figure import cohort_figure

    cohort_figure(Path(snakemake.input[0]), Path(snakemake.output[0]))
