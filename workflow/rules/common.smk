# What the rules share: the parameters, and the stamp that tells whether an artifact is stale.
#
# Modification times mean nothing after a checkout, so content decides (reiqa.store.Freshness):
# - a rule's `stamp` is older than everything while the artifact on disk is the one that today's
#   parameters and inputs make, and newer than everything once it is not; each engine process writes
#   its own, into a folder that goes with it and that the nodes of a cluster see: a job there waits
#   for all of its inputs, as the process that sent it named them;
# - an input that is up to date is `ancient`, so that its own time cannot trigger anything; one that
#   is stale is not, so that its job takes those downstream along.
import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from reiqa import layout, pipeline, resources
from reiqa.errors import BadInputError
from reiqa.stages import STAGES, lookup, target_artifacts
from reiqa.store import Freshness, write_stamp

min_version("9.0")

# A dry run counts artifacts without a record in .snakemake, which are those that a verb made or that
# came with a clone or `dvc pull`, and calls it a gap. Nothing here is decided by those records.
logger.addFilter(lambda record: "provenance/metadata" not in str(record.msg))

# The `reiqa` of the environment that runs this engine, activated or not.
SCRIPTS = os.path.dirname(sys.executable)
os.environ.update(PATH=os.pathsep.join([SCRIPTS, os.environ.get("PATH", "")]))

try:
    PARAMS = pipeline.load_params()
except BadInputError as error:
    raise WorkflowError(str(error)) from None

FRESHNESS = Freshness(lookup(PARAMS))
GPU = 0 if PARAMS.compute.device == "cpu" else 1

# Of one pretraining, from the command line: snakemake --config gpus=3 nodes=6 (GPUs of each node).
KNOWN = ("gpus", "nodes")
if UNKNOWN := sorted(set(config) - set(KNOWN)):
    raise WorkflowError(
        f"--config {UNKNOWN[0]}: unknown key; allowed: {', '.join(KNOWN)}"
    )
NODES = int(config.get("nodes", 1))
GPUS = int(config.get("gpus", 1)) if GPU else 0
PROCESSES = max(GPUS, 1)
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


def item_of(stage, wildcards):
    return "/".join(wildcards[name] for name in STAGES[stage].wildcards)


def inputs_of(stage):
    """The artifacts that a job of this stage reads."""

    def inputs(wildcards):
        paths = STAGES[stage].reads(PARAMS, item_of(stage, wildcards))
        return [ancient(path) if FRESHNESS.is_fresh(path) else path for path in paths]

    return inputs


def stamp_of(stage):
    """The stamp of the artifact that a job of this stage makes."""

    def stamp(wildcards):
        path = STAGES[stage].path(item_of(stage, wildcards))
        return write_stamp(STAMPS, path, FRESHNESS.is_fresh(path))

    return stamp


def outputs_of(stage):
    """The files that a job of this stage makes, with wildcards."""
    pattern = STAGES[stage].pattern()
    return [pattern, *STAGES[stage].companion_paths(Path(pattern))]


def needs_of(stage):
    """Memory and minutes of a job of this stage, as Snakemake's standard resources."""

    def needs(wildcards):
        values = STAGES[stage].values(item_of(stage, wildcards))
        return STAGES[stage].needs(PARAMS, *values)

    return {
        "mem_mb": lambda wildcards: needs(wildcards).mem_mb,
        "runtime": lambda wildcards: needs(wildcards).minutes,
    }


def expert_inputs(wildcards):
    file = PARAMS.expert(wildcards.expert).file
    return inputs_of("model")(wildcards) + ([layout.checkpoint(file)] if file else [])


def expert_verb(wildcards):
    source = PARAMS.expert(wildcards.expert).source
    return "pretrain" if source == "pretrain" else "weights import"


def launcher(wildcards, threads):
    """What stands before the verb: on several GPUs, torchrun and as many processes."""
    if expert_verb(wildcards) != "pretrain" or GPUS * NODES <= 1:
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


wildcard_constraints:
    dataset="[a-z0-9_]+",
    corpus="[a-z0-9_]+",
    expert="content|quality",
    number=r"\d{5}",
