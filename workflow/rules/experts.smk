# The two encoders and what they see in every photograph.


rule make_expert:
    input:
        expert_inputs,
        stamp=stamp_of("model"),
    output:
        # An imported expert has no training curve.
        outputs_of("model")[:2],
    log:
        "work/logs/pretrain/{expert}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads * PROCESSES
    resources:
        **SEVERAL,
        gpu=lambda w: GPUS * NODES if expert_verb(w) == "pretrain" else GPU,
        mem_mb=lambda w: resources.model(PARAMS, w.expert, GPUS).mem_mb,
        runtime=lambda w: resources.model(PARAMS, w.expert, GPUS).minutes,
    params:
        reiqa=launcher,
        verb=expert_verb,
    shell:
        "{params.reiqa} {params.verb} --expert {wildcards.expert} > {log} 2>&1"


rule probe_experts:
    input:
        inputs_of("probe"),
        stamp=stamp_of("probe"),
    output:
        outputs_of("probe"),
    log:
        "work/logs/probe.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        **needs_of("probe"),
    shell:
        "reiqa probe > {log} 2>&1"


rule extract_features:
    input:
        inputs_of("features"),
        stamp=stamp_of("features"),
    output:
        outputs_of("features"),
    log:
        "work/logs/features/{dataset}-{expert}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        **needs_of("features"),
        gpu=GPU,
    shell:
        "reiqa features --dataset {wildcards.dataset} --expert {wildcards.expert} > {log} 2>&1"
