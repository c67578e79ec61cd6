"""Split the change between two visits into deformation and reallocation."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import steps

    p, visits = snakemake.params, snakemake.input
    settings = {**p.settings, "device": snakemake.resources.device, "threads": snakemake.threads}
    out = Path(snakemake.output.status).parent
    steps.register(p.pair, p.classes, p.control, Path(visits.source), Path(visits.target), out, settings)
