rule figure:
    input:
        "results/patients/{patient}/{pair}/status.json",
    output:
        "results/patients/{patient}/{pair}/overview.png",
    log:
        "results/logs/{patient}/figure_{pair}.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.figure(JOBS.pair(w.patient, w.pair))),
    params:
        pair=lambda w: pair_row(JOBS.pair(w.patient, w.pair)),
        colors_version=JOBS.colors_version,
        version=VERSIONS["figure"],
    script:
        "../scripts/figure.py"
