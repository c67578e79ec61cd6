rule align:
    input:
        lambda w: [ancient(name) for name in files(JOBS.scans_of(w.patient))],
        lambda w: marks(w.patient),
    output:
        "results/patients/{patient}/alignment.json",
    log:
        "results/logs/{patient}/align.log",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(lambda w: NEEDS.align(JOBS.scans_of(w.patient))),
    params:
        visits=lambda w: [visit_record(v) for v in JOBS.scans_of(w.patient)],
        labels_version=JOBS.labels_version,
        settings=JOBS.settings("align"),
    script:
        "../scripts/align.py"
