"""Combine the tables of a patient's pairs."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.patient_tables import patient_tables

    p, out = snakemake.params, Path(snakemake.output.changes).parent
    log = Path(snakemake.log[0]).with_name("template.log") if snakemake.input.template else None
    floors = snakemake.input.get("floors")
    known = Path(floors) if floors else None
    patient_tables(snakemake.wildcards.patient, p.visits, p.pairs, p.classes, out, log, known)
