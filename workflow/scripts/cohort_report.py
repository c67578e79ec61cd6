"""Write the report page of the cohort."""

import shlex
from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.cohort_report import cohort_report

    context = snakemake.config["longimorph"]
    command = shlex.join([*context["command"], "--cores", "2"])
    group = Path(snakemake.input.group[0]) if snakemake.input.group else None
    cohort_report(context["classes"], command, Path(snakemake.output[0]), group)
