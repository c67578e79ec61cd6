# A few pairs with many settings: "snakemake sweep". Sweeps are separate from a study's own results.
from longimorph.orchestration.sweep import SweepJobs

SWEEP = SweepJobs(STUDY)


localrules:
    sweep,


rule sweep_register:
    input:
        source=lambda w: qc_of(JOBS.pair(w.patient, w.pair).source),
        target=lambda w: qc_of(JOBS.pair(w.patient, w.pair).target),
    output:
        status="results/sweep/{combination}/{patient}/{pair}/status.json",
        changes="results/sweep/{combination}/{patient}/{pair}/changes.csv",
        transitions="results/sweep/{combination}/{patient}/{pair}/transitions.csv",
        convergence="results/sweep/{combination}/{patient}/{pair}/convergence.csv",
    log:
        "results/logs/sweep/{combination}/{patient}_{pair}.log",
    wildcard_constraints:
        combination="[A-Za-z0-9_.+-]+",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(
            lambda w: SWEEP.needs(w.combination).register(JOBS.pair(w.patient, w.pair))
        ),
        **asking_for_card(),
    params:
        pair=lambda w: pair_record(JOBS.pair(w.patient, w.pair)),
        labels_version=JOBS.labels_version,
        control_version=lambda w: SWEEP.control_version(w.combination),
        settings=lambda w: SWEEP.settings(w.combination),
    script:
        "../scripts/register.py"


rule sweep:
    input:
        lambda w: SWEEP.results(),
    output:
        table="results/sweep/sweep.csv",
        page="results/sweep/sweep.html",
    log:
        "results/logs/sweep/sweep.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(SWEEP.results()))),
    params:
        combinations=lambda w: SWEEP.combinations(),
        pairs=lambda w: SWEEP.pairs(),
        version=VERSIONS["report"],
    script:
        "../scripts/sweep.py"
