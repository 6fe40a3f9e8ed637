"""Checkpoints: all that a run needs to go on as if it had never stopped.

What is random has a seed that follows from the step, and the learning rate and the order of the
items follow from it too; so the step is the whole state of generators, schedule and sampler. There
is no gradient scaler: bfloat16 needs none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reiqa import devices, progress, store
from reiqa import params as parameters
from reiqa.encoders.serialization import load_checkpoint
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ExpertName, Params
from reiqa.stages import stage_parameters

#: Raised by one when what a checkpoint holds changes.
FORMAT = 1


def run_identity(expert: ExpertName, params: Params, inputs: list[Path]) -> dict[str, Any]:
    """Return what makes a run this run and no other: parameters, and digests of what it reads.

    The digests are taken of the bytes on disk, at over a gigabyte a second and core, so that a
    damaged input ends a run before its first step.

    Raises:
        BadInputError: an input is not what was written.
    """
    read = progress.track(inputs, "check of inputs", unit="files")
    return {
        "format": FORMAT,
        "parameters": devices.resolved(stage_parameters(params, "model", expert)),
        "inputs": {path.as_posix(): store.verified_digest(path) for path in read},
    }


def checkpoint_folder(expert: ExpertName, run: Mapping[str, Any]) -> Path:
    """Return where the checkpoints of a run lie."""
    return store.WORK / "pretrain" / f"{expert}-{parameters.tree_digest(run)[:16]}"


class Checkpoints:
    """The checkpoints of one run, in its own folder."""

    def __init__(self, place: Path, run: Mapping[str, Any], keep: int) -> None:
        """Take the folder, the run's `identity`, and how many to keep."""
        self.place = place
        self._run = dict(run)
        self._keep = keep

    def paths(self) -> list[Path]:
        """Return the checkpoints that are there, oldest first."""
        return sorted(self.place.glob("step-*.pt"))

    def write(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the state after ``step`` steps, then delete what is over the number to keep.

        The start is kept beyond that number: what a run has learnt is told by comparing with it.

        Raises:
            WorkFailedError: a weight is not finite; nothing is written, nothing deleted.
        """
        for name, value in state["model"].items():
            if not torch.isfinite(value).all():
                raise WorkFailedError(
                    f"pretrain: diverged by step {step}: {name} is not finite;"
                    f" lower training.learning_rate. Last good checkpoint: {self.last()}"
                )
        path = self.place / f"step-{step:09d}.pt"
        store.remove_partials(path)
        with store.atomic(path) as temporary:
            torch.save({"run": json.dumps(self._run), "step": step, **state}, temporary)
        for old in self.paths()[1 : -self._keep]:
            old.unlink()
        return path

    def read(self) -> dict[str, Any] | None:
        """Return the latest state; None where there is none.

        Raises:
            BadInputError: it is damaged, or of another configuration; the message lists the keys
                that differ.
        """
        paths = self.paths()
        if not paths:
            return None
        state = read_checkpoint(paths[-1])
        differing = differing_keys(json.loads(state["run"]), self._run)
        if differing:
            raise BadInputError(
                f"{paths[-1]}: of another configuration; these differ: {', '.join(differing)}"
            )
        return state

    def last(self) -> str:
        """Name the latest checkpoint, or say ``none``."""
        paths = self.paths()
        return str(paths[-1]) if paths else "none"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, on the CPU.

    Raises:
        BadInputError: it is damaged.
    """
    try:
        return load_checkpoint(path)
    except BadInputError as error:
        raise BadInputError(f"{error}; delete it and run again") from None


def differing_keys(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys at which two trees of JSON data differ."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [] if ours == theirs else [prefix]
    return [
        found
        for key in sorted({*ours, *theirs})
        for found in differing_keys(
            ours.get(key), theirs.get(key), f"{prefix}.{key}" if prefix else str(key)
        )
    ]
