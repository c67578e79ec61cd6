"""Average the maps of all patients on the template, and test them."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.group_maps import group_maps

    p, classes = snakemake.params, snakemake.config["longimorph"]["classes"]
    settings = {**p.settings, "threads": snakemake.threads}
    out, files = Path(snakemake.output[0]).parent, list(snakemake.input.template)
    group_maps(p.pairs, classes, p.names, files, out.parents[1], out, settings)
