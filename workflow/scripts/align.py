"""Align a patient's visits rigidly to one space."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.align import align

    p, study = snakemake.params, snakemake.config["longimorph"]
    settings = {**p.settings, "threads": snakemake.threads}
    out = Path(snakemake.output[0]).parent
    align(snakemake.wildcards.patient, p.visits, study["classes"], out, settings)
