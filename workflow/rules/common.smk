# What the rules share: the parameters, and the stamp that tells whether an artifact is stale.
#
# Modification times mean nothing after a checkout, so content decides (reiqa.store.Freshness):
# - a rule's `stamp` is older than everything while the artifact on disk is the one that today's
#   parameters and inputs make, and newer than everything once it is not; each engine process writes
#   its own, into a folder that goes with it and that the nodes of a cluster see: a job there waits
#   for all of its inputs, as the process that sent it named them;
# - an input that is fresh is `ancient`, so that its own time cannot trigger anything; one that is
#   stale is not, so that its job takes those downstream along.
import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError

from reiqa import chunks, distortions, layout, pretrain, resources
from reiqa.data import catalog
from reiqa.errors import BadInputError
from reiqa.identity import under
from reiqa.params import EXPERTS, load
from reiqa.store import Freshness, write_stamp

# The `reiqa` of the environment that runs this engine, activated or not.
SCRIPTS = os.path.dirname(sys.executable)
os.environ.update(PATH=os.pathsep.join([SCRIPTS, os.environ.get("PATH", "")]))

try:
    PARAMS = load(layout.PARAMS, catalog.rated(), catalog.corpora(), distortions.names)
except BadInputError as error:
    raise WorkflowError(str(error)) from None

FRESHNESS = Freshness(under(PARAMS))
GPU = 0 if PARAMS.compute.device == "cpu" else 1

# Of one pretraining, from the command line: snakemake --config gpus=3 nodes=6 (GPUs of each node).
NODES = int(config.get("nodes", 1))
GPUS = int(config.get("gpus", 1)) if GPU else 0
PROCESSES = max(GPUS, 1)
MODELS = {expert: resources.model(expert, PARAMS, GPUS, NODES) for expert in EXPERTS}
if NODES > 1 and GPUS == 0:
    raise WorkflowError(
        "nodes: several are for GPUs; params.yaml has compute.device: cpu"
    )
# What Slurm's plugin wants of a job that starts its processes itself: one task on each node.
SEVERAL = (
    {
        "nodes": NODES,
        "tasks": NODES,
        "tasks_per_gpu": 0,
        "mpi": "srun",
        "slurm_extra": f"--gpus-per-node={GPUS}",
    }
    if NODES > 1
    else {}
)


ENGINE = Path(".snakemake")
ENGINE.mkdir(exist_ok=True)
STAMPS = Path(tempfile.mkdtemp(prefix="stamps-", dir=ENGINE))


def remove_stamps(owner=os.getpid()):
    # Not by a process that Snakemake forks.
    if os.getpid() == owner:
        shutil.rmtree(STAMPS, ignore_errors=True)


atexit.register(remove_stamps)


def stamp(path):
    return write_stamp(STAMPS, path, FRESHNESS.fresh(path))


def made(*paths):
    return [ancient(path) if FRESHNESS.fresh(path) else path for path in paths]


def training_inputs(wildcards):
    section = PARAMS.expert(wildcards.expert)
    if section.source != "pretrain":
        return [section.file] if section.file else []
    return made(*pretrain.inputs(wildcards.expert, PARAMS))


def model_verb(wildcards):
    source = PARAMS.expert(wildcards.expert).source
    return "pretrain" if source == "pretrain" else "weights import"


def launcher(wildcards, threads):
    """What stands before the verb: on several GPUs, torchrun and as many processes."""
    if model_verb(wildcards) != "pretrain" or GPUS * NODES <= 1:
        return "reiqa"
    if NODES == 1:
        return f"torchrun --standalone --nproc-per-node {GPUS} -m reiqa"
    srun = (
        f"srun --nodes {NODES} --ntasks {NODES} --ntasks-per-node 1"
        f" --cpus-per-task {threads} --gpus-per-node {GPUS}"
    )
    # The job's script runs on the first of its nodes, where the others find each other.
    meeting = "--rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 20000))"
    return (
        f"{srun} torchrun --nnodes {NODES} --nproc-per-node {GPUS} --rdzv-backend c10d {meeting}"
        " -m reiqa"
    )


SHARDS = []
if PARAMS.quality.source == "pretrain":
    SHARDS = pretrain.inputs("quality", PARAMS)


wildcard_constraints:
    dataset="[a-z0-9_]+",
    corpus="[a-z0-9_]+",
    expert="content|quality",
    number=r"\d{5}",
