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


localrules:
    cohort_report,


rule patient_report:
    input:
        "results/patients/{patient}/alignment.json",
        expand(
            "results/patients/{{patient}}/{table}.csv",
            table=[
                "changes",
                "transitions",
                "failures",
                "memory",
                "closure",
                "lesions",
            ],
        ),
        lambda w: [qc_of(visit) for visit in JOBS.visits_of(w.patient)],
        lambda w: of_pairs(
            w.patient, ["status.json", "convergence.csv", "overview.png"]
        ),
    output:
        report(
            "results/patients/{patient}/report.html",
            caption="../report/patient.rst",
            category="Patients",
            labels={"patient": "{patient}"},
        ),
    log:
        "results/logs/{patient}/report.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.patient_report(JOBS.pairs_of(w.patient))),
    params:
        pairs=lambda w: [pair_row(pair) for pair in JOBS.pairs_of(w.patient)],
        days=lambda w: {v.timepoint: v.days for v in JOBS.visits_of(w.patient)},
        colors_version=JOBS.colors_version,
        version=VERSIONS["report"],
    script:
        "../scripts/patient_report.py"


rule cohort_report:
    input:
        expand(
            "results/cohort/{table}.csv",
            table=[
                "changes",
                "failures",
                "memory",
                "pairs",
                "verdicts",
                *(["repeats", "floors"] if JOBS.repeats else []),
            ],
        ),
        "results/cohort/memory.png",
        group=["results/cohort/group.html"] if JOBS.template_files else [],
    output:
        report(
            "results/cohort/report.html",
            caption="../report/cohort.rst",
            category="Cohort",
        ),
        "results/cohort/administration.html",
    log:
        "results/logs/cohort/report.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.tables(len(STUDY.plan.pairs))),
    params:
        colors_version=JOBS.colors_version,
        version=VERSIONS["report"],
    script:
        "../scripts/cohort_report.py"
