"""Resample a visit's labels to the registration grid, as probabilities."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.maps import maps

    p, study = snakemake.params, snakemake.config["longimorph"]
    settings = {**p.settings, "threads": snakemake.threads}
    out = Path(snakemake.output[0]).parent
    maps(p.visit, study["classes"], Path(snakemake.input.alignment), out, settings)
