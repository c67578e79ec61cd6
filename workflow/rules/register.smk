rule register:
    input:
        source=lambda w: qc_of(JOBS.pair(w.patient, w.pair).source),
        target=lambda w: qc_of(JOBS.pair(w.patient, w.pair).target),
    output:
        status="results/patients/{patient}/{pair}/status.json",
        changes="results/patients/{patient}/{pair}/changes.csv",
        transitions="results/patients/{patient}/{pair}/transitions.csv",
        convergence="results/patients/{patient}/{pair}/convergence.csv",
    log:
        "results/logs/{patient}/register_{pair}.log",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(lambda w: NEEDS.register(JOBS.pair(w.patient, w.pair))),
        **asking_for_card(),
    params:
        pair=lambda w: pair_record(JOBS.pair(w.patient, w.pair)),
        labels_version=JOBS.labels_version,
        control_version=JOBS.control_version,
        settings=JOBS.settings("register"),
    script:
        "../scripts/register.py"
