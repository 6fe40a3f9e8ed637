# From features to tables.


rule fit_dataset:
    input:
        fitted_on=lambda w: made(*layout.fitted_on(w.dataset, *PARAMS.copies())),
        stamp=lambda w: stamp(layout.result(w.dataset)),
    output:
        layout.result("{dataset}"),
        [layout.beside(layout.result("{dataset}"), kind) for kind in layout.FITTED],
    log:
        "work/logs/fit/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        mem_mb=lambda w: resources.fit(w.dataset, PARAMS).mem_mb,
        runtime=lambda w: resources.fit(w.dataset, PARAMS).minutes,
    shell:
        "reiqa fit --dataset {wildcards.dataset} > {log} 2>&1"


rule cross_datasets:
    input:
        # The regressors that fit kept are used again here.
        results=made(*(layout.result(name) for name in PARAMS.datasets)),
        fitted_on=made(*layout.fitted_on(*PARAMS.seen())),
        stamp=lambda w: stamp(layout.CROSS),
    output:
        layout.CROSS,
    log:
        "work/logs/cross.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        mem_mb=resources.cross(PARAMS).mem_mb,
        runtime=resources.cross(PARAMS).minutes,
    shell:
        "reiqa cross > {log} 2>&1"


rule write_report:
    input:
        results=made(*(layout.result(name) for name in PARAMS.datasets)),
        cross=made(layout.CROSS),
        models=made(*(layout.model(expert) for expert in EXPERTS), layout.PROBE),
        stamp=lambda w: stamp(layout.ALL_SRCC),
    output:
        layout.ALL_SRCC,
        layout.REPORTED,
    log:
        "work/logs/report.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        mem_mb=resources.report().mem_mb,
        runtime=resources.report().minutes,
    shell:
        "reiqa report > {log} 2>&1"
