localrules:
    pairs,
    cohort_tables,
    cohort_figure,
    patient_complete,
    cohort_complete,


rule pairs:
    output:
        "results/cohort/pairs.csv",
    log:
        "results/logs/cohort/pairs.log",
    priority: 100
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(0)),
    params:
        pairs=JOBS.planned(),
        left_out=JOBS.left_out(),
    script:
        "../scripts/pairs.py"


rule patient_tables:
    input:
        lambda w: of_pairs(w.patient, ["status.json", "changes.csv", "transitions.csv"]),
    output:
        changes="results/patients/{patient}/changes.csv",
        transitions="results/patients/{patient}/transitions.csv",
        failures="results/patients/{patient}/failures.csv",
        by_region="results/patients/{patient}/marginals_by_region.csv",
        by_state="results/patients/{patient}/marginals_by_state.csv",
        memory="results/patients/{patient}/memory.csv",
        verdicts="results/patients/{patient}/verdicts.csv",
        closure="results/patients/{patient}/closure.csv",
    log:
        "results/logs/{patient}/tables.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(JOBS.pairs_of(w.patient)))),
    params:
        pairs=lambda w: [
            {**pair_row(p), "logs": log_files(p)} for p in JOBS.pairs_of(w.patient)
        ],
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/patient_tables.py"


rule cohort_tables:
    input:
        expand(
            "results/patients/{patient}/{table}.csv",
            patient=JOBS.patients,
            table=[
                "changes",
                "transitions",
                "failures",
                "memory",
                "verdicts",
                "closure",
                "lesions",
            ],
        ),
    output:
        expand(
            "results/cohort/{table}.csv",
            table=[
                "changes",
                "transitions",
                "failures",
                "marginals_by_region",
                "marginals_by_state",
                "memory",
                "verdicts",
                "closure",
                "lesions",
            ],
        ),
    log:
        "results/logs/cohort/tables.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(STUDY.plan.pairs))),
    params:
        patients=JOBS.patients,
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/cohort_tables.py"


rule cohort_figure:
    input:
        "results/cohort/memory.csv",
    output:
        "results/cohort/memory.png",
    log:
        "results/logs/cohort/figure.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(STUDY.plan.pairs))),
    params:
        version=VERSIONS["figure"],
    script:
        "../scripts/cohort_figure.py"


# These rules fail on purpose if a pair failed. They are never retried: a retry would only repeat the message.
rule patient_complete:
    input:
        "results/patients/{patient}/failures.csv",
        lambda w: of_pairs(w.patient, ["overview.png"]),
        pages=["results/patients/{patient}/report.html"],
    output:
        "results/patients/{patient}/complete.json",
    log:
        "results/logs/{patient}/complete.log",
    retries: 0
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(0)),
    script:
        "../scripts/complete.py"


rule cohort_complete:
    input:
        "results/cohort/failures.csv",
        "results/cohort/pairs.csv",
        "results/cohort/memory.png",
        [of_pairs(patient, ["overview.png"]) for patient in JOBS.patients],
        pages=[
            "results/cohort/report.html",
            *expand("results/patients/{patient}/report.html", patient=JOBS.patients),
        ],
    output:
        "results/cohort/complete.json",
    log:
        "results/logs/cohort/complete.log",
    retries: 0
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(0)),
    script:
        "../scripts/complete.py"


for patient_name in JOBS.patients:

    rule:
        name:
            f"patient_{patient_name}"
        input:
            f"results/patients/{patient_name}/complete.json",
