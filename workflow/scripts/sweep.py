"""Combine the registrations of a sweep into one table and one page."""

import shlex
from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.sweep import sweep

    p, out = snakemake.params, snakemake.output
    command = shlex.join([*snakemake.config["longimorph"]["command"], "--cores", "2", "sweep"])
    sweep(p.combinations, p.pairs, command, Path(out.table), Path(out.page))
