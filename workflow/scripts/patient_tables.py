"""Put the tables of a patient's pairs together."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import tables

    pairs = snakemake.params.pairs
    out = Path(snakemake.output.changes).parent
    folders = [out / f"{pair['from']}__{pair['to']}" for pair in pairs]
    tables.patient_tables(snakemake.wildcards.patient, pairs, folders, snakemake.params.classes, out)
