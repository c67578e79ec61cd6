"""Say whether every pair is done; end with an error when one is not."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import tables

    out = Path(snakemake.output[0])
    tables.verdict(out.parent, out)
