"""Write the page of the maps of the cohort."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.group_report import group_report

    classes, files = snakemake.config["longimorph"]["classes"], list(snakemake.input.template)
    group_report(classes, files, Path(snakemake.input[0]).parent, Path(snakemake.output[0]))
