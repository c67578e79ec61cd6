rule lesions:
    input:
        lambda w: [ancient(name) for name in files(JOBS.visits_of(w.patient))],
        "results/patients/{patient}/alignment.json",
        lambda w: of_pairs(w.patient, ["status.json", "changes.csv"]),
    output:
        "results/patients/{patient}/lesions.csv",
        "results/patients/{patient}/lesions.json",
    log:
        "results/logs/{patient}/lesions.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.lesions(JOBS.pairs_of(w.patient))),
    params:
        visits=lambda w: [visit_record(v) for v in JOBS.visits_of(w.patient)],
        pairs=lambda w: [pair_row(p) for p in JOBS.pairs_of(w.patient)],
        names=JOBS.class_names,
        labels_version=JOBS.labels_version,
        version=VERSIONS["lesions"],
    script:
        "../scripts/lesions.py"
