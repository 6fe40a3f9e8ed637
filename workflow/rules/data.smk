# From names to checked tables, and from corpora to windows.


# Nodes of a cluster often reach no network: the engine's own machine brings the sets.
localrules:
    fetch,


rule fetch:
    input:
        stamp=lambda w: stamp(layout.receipt(w.dataset)),
    output:
        layout.receipt("{dataset}"),
    log:
        "work/logs/fetch/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        network=1,
        mem_mb=lambda w: resources.fetch(w.dataset).mem_mb,
        runtime=lambda w: resources.fetch(w.dataset).minutes,
    shell:
        "reiqa fetch --dataset {wildcards.dataset} > {log} 2>&1"


rule index:
    input:
        receipt=lambda w: made(layout.receipt(w.dataset)),
        stamp=lambda w: stamp(layout.index(w.dataset)),
    output:
        layout.index("{dataset}"),
    log:
        "work/logs/index/{dataset}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        mem_mb=lambda w: resources.index(w.dataset).mem_mb,
        runtime=lambda w: resources.index(w.dataset).minutes,
    shell:
        "reiqa index --dataset {wildcards.dataset} > {log} 2>&1"


rule cut_chunks:
    input:
        index=lambda w: made(layout.index(w.corpus)),
        stamp=lambda w: stamp(layout.shard(w.corpus, int(w.number))),
    output:
        "data/chunks/{corpus}/shard-{number}.h5",
    log:
        "work/logs/chunks/{corpus}-{number}.log",
    conda:
        "../envs/reiqa.yaml"
    resources:
        mem_mb=lambda w: resources.chunks(w.corpus, PARAMS).mem_mb,
        runtime=lambda w: resources.chunks(w.corpus, PARAMS).minutes,
    params:
        number=lambda w: int(w.number),
        of=lambda w: len(chunks.paths(w.corpus, PARAMS.chunks)),
    shell:
        "reiqa chunks --corpus {wildcards.corpus} --shard {params.number}/{params.of} > {log} 2>&1"
