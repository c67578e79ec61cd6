"""Split the change between two visits into deformation and reallocation; also used by sweeps."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.orchestration.resources import STARTERS_MB
    from longimorph.stages.register import register

    p, study = snakemake.params, snakemake.config["longimorph"]
    source, target = Path(snakemake.input.source), Path(snakemake.input.target)
    settings = {**p.settings, "device": snakemake.resources.device, "threads": snakemake.threads}
    asked = snakemake.resources.get("mem_mb")
    settings["memory_mb"] = asked - STARTERS_MB if asked else None
    settings["memory_model"] = study.get("memory_model")
    combination = snakemake.wildcards.get("combination")
    control = study["sweep"][combination] if combination else study["control"]
    out = Path(snakemake.output.status).parent
    register(p.pair, study["classes"], control, source, target, out, settings)
