# What the rules share: the parameters, and the stamp that tells whether an artifact is stale.
#
# Inputs that are artifacts are `ancient`: their modification times mean nothing after a checkout.
# Each rule's `stamp` carries the decision instead: older than everything while the artifact on
# disk is the one that today's parameters and inputs make, newer than everything once it is not.
import os
import sys

from snakemake.exceptions import WorkflowError

from reiqa import layout
from reiqa.data import catalog
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, load, relevant
from reiqa.store import Freshness, write_stamp

# The `reiqa` of the environment that runs this engine, activated or not.
os.environ["PATH"] = os.pathsep.join(
    [os.path.dirname(sys.executable), os.environ["PATH"]]
)

try:
    PARAMS = load(layout.PARAMS, datasets=catalog.rated(), corpora=catalog.corpora())
except BadInputError as error:
    raise WorkflowError(str(error)) from None

FRESHNESS = Freshness.under(PARAMS)
GPU = 0 if PARAMS.compute.device == "cpu" else 1


def stamp(path, stage, item=""):
    return write_stamp(path, relevant(PARAMS, stage, item), FRESHNESS.fresh(path))


def shards(corpus):
    count = PARAMS.chunks.shard_count(catalog.get(corpus).images)
    return [layout.shard(corpus, number) for number in range(count)]


def training_inputs(wildcards):
    section = PARAMS.expert(wildcards.expert)
    if section.source != "pretrain":
        return []
    if wildcards.expert == "quality":
        return ancient(SHARDS)
    return ancient([layout.index(corpus) for corpus in section.corpora])


def model_verb(wildcards):
    section = PARAMS.expert(wildcards.expert)
    return {
        "pretrain": "pretrain",
        "import": f"weights import {section.file}",
        "package": "weights use",
    }[section.source]


SHARDS = (
    [path for corpus in PARAMS.chunks.corpora for path in shards(corpus)]
    if PARAMS.quality.source == "pretrain"
    else []
)


wildcard_constraints:
    dataset="[a-z0-9_]+",
    corpus="[a-z0-9_]+",
    expert="content|quality",
    number=r"\d{5}",
