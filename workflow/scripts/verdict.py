"""Say whether every pair is done; end with an error when one is not."""

from pathlib import Path

from longimorph.jobs.log import job_log

with job_log(snakemake):
    from longimorph import tables
    from longimorph.report.page import problems_of

    out = Path(snakemake.output[0])
    pages = [Path(page) for page in snakemake.input.pages]
    tables.verdict(out.parent, out, [page for page in pages if problems_of(page)])
