"""Draw the figure of the cohort: predicted and observed memory."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.cohort_figure import cohort_figure

    cohort_figure(Path(snakemake.input[0]), Path(snakemake.output[0]))
