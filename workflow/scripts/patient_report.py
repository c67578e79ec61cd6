"""Write the report page of one patient."""

import shlex
from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.patient_report import patient_report

    context, name = snakemake.config["longimorph"], snakemake.wildcards.patient
    command = shlex.join([*context["command"], "--cores", "2", f"patient_{name}"])
    params = snakemake.params
    patient_report(name, params.days, params.pairs, context["classes"], command, Path(snakemake.output[0]))
