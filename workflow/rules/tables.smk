TABLES = (
    "changes",
    "transitions",
    "failures",
    "marginals_by_region",
    "marginals_by_state",
    "memory",
    "verdicts",
    "closure",
    "fit",
)


localrules:
    pairs,
    repeats,
    cohort_tables,
    cohort_visits,
    cohort_figure,
    patient_complete,
    cohort_complete,


rule pairs:
    output:
        "results/cohort/pairs.csv",
        "results/cohort/pairs.json",
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
        lambda w: [qc_of(visit) for visit in JOBS.visits_of(w.patient)],
        **FLOORS,
        template=lambda w: template_record(w.patient),
    output:
        **{
            name: f"results/patients/{{patient}}/{name}.csv"
            for name in [*TABLES, "visits"]
        },
        dictionaries=[
            f"results/patients/{{patient}}/{name}.json" for name in [*TABLES, "visits"]
        ],
    log:
        "results/logs/{patient}/tables.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(JOBS.pairs_of(w.patient)))),
    params:
        visits=lambda w: JOBS.visit_rows(w.patient),
        pairs=lambda w: [logged(p) for p in JOBS.pairs_of(w.patient)],
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/patient_tables.py"


rule repeats:
    input:
        of_repeats(["status.json", "changes.csv"]),
    output:
        expand(
            "results/cohort/{table}.{kind}",
            table=["repeats", "floors"],
            kind=["csv", "json"],
        ),
    log:
        "results/logs/cohort/repeats.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(JOBS.repeats))),
    params:
        pairs=[pair_row(pair) for pair in JOBS.repeats],
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/repeats.py"


rule cohort_tables:
    input:
        of_repeats(["status.json"]),
        expand(
            "results/patients/{patient}/{table}.csv",
            patient=JOBS.patients,
            table=[
                *(name for name in TABLES if not name.startswith("marginals")),
                "lesions",
            ],
        ),
    output:
        expand(
            "results/cohort/{table}.{kind}",
            table=[*TABLES, "lesions"],
            kind=["csv", "json"],
        ),
    log:
        "results/logs/cohort/tables.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(STUDY.plan.pairs))),
    params:
        patients=JOBS.patients,
        repeats=[logged(pair) for pair in JOBS.repeats],
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/cohort_tables.py"


# Alone in knowing the further columns of the cohort table: a corrected age runs no other job of the tables again.
rule cohort_visits:
    input:
        expand("results/patients/{patient}/visits.csv", patient=JOBS.patients),
    output:
        "results/cohort/visits.csv",
        "results/cohort/visits.json",
    log:
        "results/logs/cohort/visits.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(STUDY.plan.pairs))),
    params:
        patients=JOBS.patients,
        further=JOBS.study.cohort.further,
        cells=JOBS.further_cells(),
        classes=JOBS.class_names,
        version=VERSIONS["tables"],
    script:
        "../scripts/cohort_visits.py"


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
        "results/patients/{patient}/visits.csv",
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
        "results/cohort/visits.csv",
        "results/cohort/memory.png",
        ["results/cohort/repeats.csv"] if JOBS.repeats else [],
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
