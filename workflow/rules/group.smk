# Maps of the whole cohort on a template: only in a study that names one.
MEMBERS = JOBS.patients if JOBS.template_files else ()


rule template:
    input:
        "results/patients/{patient}/alignment.json",
        lambda w: [qc_of(visit) for visit in JOBS.visits_of(w.patient)],
        template=lambda w: [ancient(name) for name in JOBS.template_files],
    output:
        "results/patients/{patient}/template.json",
    log:
        "results/logs/{patient}/template.log",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(lambda w: NEEDS.template(JOBS.visits_of(w.patient))),
    params:
        visits=lambda w: [v.timepoint for v in JOBS.visits_of(w.patient)],
        labels_version=JOBS.labels_version,
        template_version=lambda w: JOBS.template_version,
        version=VERSIONS["template"],
    script:
        "../scripts/template.py"


rule group_maps:
    input:
        [template_record(patient) for patient in MEMBERS],
        [of_pairs(patient, ["status.json"]) for patient in MEMBERS],
        template=[ancient(name) for name in JOBS.template_files],
    output:
        "results/cohort/group/group.json",
        expand(
            "results/cohort/group/{table}.{kind}",
            table=["registrations", "maps"],
            kind=["csv", "json"],
        ),
    log:
        "results/logs/cohort/group_maps.log",
    conda:
        ENVIRONMENT
    threads: STUDY.config.threads
    resources:
        **asking(lambda w: NEEDS.group_maps()),
    params:
        pairs={name: [pair_row(p) for p in JOBS.pairs_of(name)] for name in MEMBERS},
        names=JOBS.class_names,
        template_version=lambda w: JOBS.template_version,
        settings=JOBS.settings("group"),
    script:
        "../scripts/group_maps.py"


rule group_report:
    input:
        "results/cohort/group/group.json",
        verdicts="results/cohort/verdicts.csv",
        template=[ancient(name) for name in JOBS.template_files],
    output:
        report(
            "results/cohort/group.html",
            caption="../report/group.rst",
            category="Cohort",
        ),
    log:
        "results/logs/cohort/group_report.log",
    conda:
        ENVIRONMENT
    resources:
        **asking(lambda w: NEEDS.group_report()),
    params:
        template_version=lambda w: JOBS.template_version,
        version=VERSIONS["report"],
    script:
        "../scripts/group_report.py"
