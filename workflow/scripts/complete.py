"""Check that every pair is done; fail if one is not."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.complete import complete

    complete([Path(page) for page in snakemake.input.pages], Path(snakemake.output[0]))
