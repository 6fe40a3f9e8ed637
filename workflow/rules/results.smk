# From features to tables.


rule fit_dataset:
    input:
        inputs_of("fit"),
        stamp=stamp_of("fit"),
    output:
        outputs_of("fit"),
    log:
        "work/logs/fit/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        **needs_of("fit"),
    shell:
        "reiqa fit --dataset {wildcards.dataset} > {log} 2>&1"


rule cross_datasets:
    input:
        inputs_of("cross"),
        stamp=stamp_of("cross"),
    output:
        outputs_of("cross"),
    log:
        "work/logs/cross.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        **needs_of("cross"),
    shell:
        "reiqa cross > {log} 2>&1"


rule write_report:
    input:
        inputs_of("report"),
        stamp=stamp_of("report"),
    output:
        outputs_of("report"),
    log:
        "work/logs/report.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        **needs_of("report"),
    shell:
        "reiqa report > {log} 2>&1"
