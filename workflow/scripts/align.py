"""Align a patient's visits rigidly to one space."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import steps

    p, study = snakemake.params, snakemake.config["longimorph"]
    settings = {**p.settings, "threads": snakemake.threads}
    out = Path(snakemake.output[0]).parent
    steps.align(snakemake.wildcards.patient, p.visits, study["classes"], out, settings)
