"""List the planned pairs and the excluded patients."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.pairs import pairs

    pairs(snakemake.params.pairs, snakemake.params.left_out, Path(snakemake.output[0]))
