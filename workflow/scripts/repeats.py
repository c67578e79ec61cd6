"""Put the repeated scans together, and derive the noise floors from them."""

from pathlib import Path

from longimorph.orchestration.log import job_log

with job_log(snakemake):
    from longimorph.stages.repeats import repeats

    repeats(snakemake.params.pairs, snakemake.params.classes, Path("results"))
