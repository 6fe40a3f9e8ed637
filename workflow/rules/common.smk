# What the rules share: the parameters, and the stamp that tells whether an artifact is stale.
#
# Modification times mean nothing after a checkout, so content decides (reiqa.store.Freshness):
# - a rule's `stamp` is older than everything while the artifact on disk is the one that today's
#   parameters and inputs make, and newer than everything once it is not;
# - an input that is fresh is `ancient`, so that its own time cannot trigger anything; one that is
#   stale is not, so that its job takes those downstream along.
import os
import sys

from snakemake.exceptions import WorkflowError

from reiqa import distortions, layout
from reiqa.data import catalog
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, load, relevant
from reiqa.store import Freshness, write_stamp

# The `reiqa` of the environment that runs this engine, activated or not.
SCRIPTS = os.path.dirname(sys.executable)
os.environ.update(PATH=os.pathsep.join([SCRIPTS, os.environ.get("PATH", "")]))

try:
    PARAMS = load(layout.PARAMS, catalog.rated(), catalog.corpora(), distortions.names)
except BadInputError as error:
    raise WorkflowError(str(error)) from None

FRESHNESS = Freshness.under(PARAMS)
GPU = 0 if PARAMS.compute.device == "cpu" else 1


def stamp(path, stage, item=""):
    return write_stamp(path, relevant(PARAMS, stage, item), FRESHNESS.fresh(path))


def made(*paths):
    return [ancient(path) if FRESHNESS.fresh(path) else path for path in paths]


def both(dataset):
    return made(*(layout.features(dataset, expert) for expert in EXPERTS))


def shards(corpus):
    count = PARAMS.chunks.shard_count(catalog.get(corpus).images)
    return [layout.shard(corpus, number) for number in range(count)]


def training_inputs(wildcards):
    section = PARAMS.expert(wildcards.expert)
    if section.source != "pretrain":
        return [section.file] if section.file else []
    if wildcards.expert == "quality":
        return made(*SHARDS)
    return made(*(layout.index(corpus) for corpus in section.corpora))


def model_verb(wildcards):
    source = PARAMS.expert(wildcards.expert).source
    return "pretrain" if source == "pretrain" else "weights import"


def launcher(wildcards, resources):
    # A job that is given several GPUs (--set-resources make_expert:gpu=4) is as many processes.
    if int(resources.gpu) > 1 and model_verb(wildcards) == "pretrain":
        return f"torchrun --standalone --nproc-per-node {resources.gpu} -m reiqa"
    return "reiqa"


SHARDS = []
if PARAMS.quality.source == "pretrain":
    SHARDS = [path for corpus in PARAMS.chunks.corpora for path in shards(corpus)]


wildcard_constraints:
    dataset="[a-z0-9_]+",
    corpus="[a-z0-9_]+",
    expert="content|quality",
    number=r"\d{5}",
