# From names to checked tables, and from corpora to windows.


# Nodes of a cluster often reach no network: the engine's own machine downloads the datasets.
localrules:
    fetch_dataset,


rule fetch_dataset:
    input:
        stamp=stamp_of("fetch"),
    output:
        STAGES["fetch"].pattern(),
    log:
        "work/logs/fetch/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        **needs_of("fetch"),
        network=1,
    shell:
        "reiqa fetch --dataset {wildcards.dataset} > {log} 2>&1"


rule index_dataset:
    input:
        inputs_of("index"),
        stamp=stamp_of("index"),
    output:
        outputs_of("index"),
    log:
        "work/logs/index/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        **needs_of("index"),
    shell:
        "reiqa index --dataset {wildcards.dataset} > {log} 2>&1"


rule cut_chunks:
    input:
        inputs_of("chunks"),
        stamp=stamp_of("chunks"),
    output:
        outputs_of("chunks"),
    log:
        "work/logs/chunks/{corpus}-{number}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        **needs_of("chunks"),
    shell:
        "reiqa chunks --corpus {wildcards.corpus} --shard {wildcards.number} > {log} 2>&1"
