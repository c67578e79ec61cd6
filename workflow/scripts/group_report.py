"""Write the page of the maps of the cohort."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.group_report import group_report

    classes, files = snakemake.config["longimorph"]["classes"], list(snakemake.input.template)
    verdicts, folder = Path(snakemake.input.verdicts), Path(snakemake.input[0]).parent
    group_report(classes, files, verdicts, folder, Path(snakemake.output[0]))
