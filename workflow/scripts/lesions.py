"""List the lesions of a patient, one by one."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.lesions import lesions

    p, classes = snakemake.params, snakemake.config["longimorph"]["classes"]
    lesions(p.visits, p.pairs, classes, p.names, Path(snakemake.output[0]))
