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
        mem_mb=lambda w, attempt: attempt * NEEDS.pair_mb(JOBS.pair(w.patient, w.pair)),
        runtime=lambda w, attempt: attempt
        * NEEDS.pair_minutes(JOBS.pair(w.patient, w.pair)),
        device=STUDY.config.device,
    params:
        pair=lambda w: pair_record(JOBS.pair(w.patient, w.pair)),
        labels_version=JOBS.labels_version,
        control_version=JOBS.control_version,
        settings=JOBS.settings("register"),
    script:
        "../scripts/register.py"
