"""Register the common space of a patient to the template of the study."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.template import template

    classes, out = snakemake.config["longimorph"]["classes"], Path(snakemake.output[0]).parent
    files = list(snakemake.input.template)
    template(snakemake.wildcards.patient, snakemake.params.visits, classes, files, out, snakemake.threads)
