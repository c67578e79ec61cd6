rule maps:
    input:
        images=lambda w: [
            ancient(name) for name in files([JOBS.visit(w.patient, w.timepoint)])
        ],
        alignment="results/patients/{patient}/alignment.json",
    output:
        "results/patients/{patient}/{timepoint}/qc.json",
    log:
        "results/logs/{patient}/maps_{timepoint}.log",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(lambda w: NEEDS.maps(JOBS.visit(w.patient, w.timepoint))),
    params:
        visit=lambda w: visit_record(JOBS.visit(w.patient, w.timepoint)),
        labels_version=JOBS.labels_version,
        settings=JOBS.settings("maps"),
    script:
        "../scripts/maps.py"
