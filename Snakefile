# The fine graph: dataset x expert x shard. Each rule holds one `reiqa` command; inputs, outputs and
# resources come from the stage table (reiqa/stages.py) by way of workflow/rules/common.smk.


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        layout.ALL_SRCC,


# The targets below are the stages of dvc.yaml.


rule all_data:
    input:
        target_artifacts(PARAMS, "data"),


rule all_chunks:
    input:
        target_artifacts(PARAMS, "chunks"),


rule all_experts:
    input:
        target_artifacts(PARAMS, "pretrain"),


rule all_features:
    input:
        target_artifacts(PARAMS, "features"),


rule all_fits:
    input:
        target_artifacts(PARAMS, "fit"),


rule all_reports:
    input:
        target_artifacts(PARAMS, "report"),
