# The fine graph: dataset x expert x shard. Rules hold one `reiqa` line each and no logic;
# what they share stands in workflow/rules/common.smk. See docs/architecture.md for the stamps.


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        layout.ALL_SRCC,


# The targets below are the stages of dvc.yaml.


rule data:
    input:
        [layout.index(name) for name in [*PARAMS.seen(), *PARAMS.corpora()]],


rule chunks:
    input:
        SHARDS,


rule pretrain:
    input:
        [layout.model(expert) for expert in EXPERTS],
        layout.PROBE,


rule features:
    input:
        [layout.features(name, expert) for name in PARAMS.seen() for expert in EXPERTS],


rule fit:
    input:
        [layout.result(name) for name in PARAMS.datasets],
        layout.CROSS,


rule report:
    input:
        layout.ALL_SRCC,
