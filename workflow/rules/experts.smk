# The two encoders and what they see in every photograph.


rule make_expert:
    input:
        source=training_inputs,
        stamp=lambda w: stamp(layout.model(w.expert)),
    output:
        layout.model("{expert}"),
        layout.beside(layout.model("{expert}"), "json"),
    log:
        "work/logs/pretrain/{expert}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads * PROCESSES
    resources:
        **SEVERAL,
        gpu=lambda w: GPUS * NODES if model_verb(w) == "pretrain" else GPU,
        mem_mb=lambda w: MODELS[w.expert].mem_mb,
        runtime=lambda w: MODELS[w.expert].minutes,
    params:
        reiqa=launcher,
        verb=model_verb,
    shell:
        "{params.reiqa} {params.verb} --expert {wildcards.expert} > {log} 2>&1"


rule probe_experts:
    input:
        models=made(*(layout.model(expert) for expert in EXPERTS)),
        unseen=made(*(layout.index(corpus) for corpus in PARAMS.unseen())),
        stamp=lambda w: stamp(layout.PROBE),
    output:
        layout.PROBE,
    log:
        "work/logs/probe.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        mem_mb=resources.probe(PARAMS).mem_mb,
        runtime=resources.probe(PARAMS).minutes,
    shell:
        "reiqa probe > {log} 2>&1"


rule extract_features:
    input:
        index=lambda w: made(layout.index(w.dataset)),
        model=lambda w: made(layout.model(w.expert)),
        stamp=lambda w: stamp(layout.features(w.dataset, w.expert)),
    output:
        layout.features("{dataset}", "{expert}"),
    log:
        "work/logs/features/{dataset}-{expert}.log",
    conda:
        "../envs/reiqa.yaml"
    threads: PARAMS.compute.threads
    resources:
        gpu=GPU,
        mem_mb=lambda w: resources.features(w.dataset, w.expert, PARAMS, GPU).mem_mb,
        runtime=lambda w: resources.features(w.dataset, w.expert, PARAMS, GPU).minutes,
    shell:
        "reiqa features --dataset {wildcards.dataset} --expert {wildcards.expert} > {log} 2>&1"
