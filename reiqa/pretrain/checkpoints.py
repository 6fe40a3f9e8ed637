"""Checkpoints: the complete state to resume a run exactly.

Random seeds, the learning rate and the order of items are functions of the step. The step number is
therefore the complete state of random generators, schedule and sampler. bfloat16 needs no gradient
scaler.
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
from reiqa.stages import differing_keys, stage_parameters

#: Version of the checkpoint format.
FORMAT = 1


def run_identity(expert: ExpertName, params: Params, inputs: list[Path]) -> dict[str, Any]:
    """Return the identity of a run: its parameters and the digests of its inputs.

    The digests are computed from the files, at more than one gigabyte per second and core, so that
    a corrupted input stops the run before its first step. ``interpolation`` is left out: it only
    changes what is saved after the last step.

    Raises:
        BadInputError: an input is corrupted.
    """
    tree = devices.resolved(stage_parameters(params, "model", expert))
    section = {key: value for key, value in tree[expert].items() if key != "interpolation"}
    verified = progress.track(inputs, "verify inputs", unit="files")
    return {
        "format": FORMAT,
        "parameters": {**tree, expert: section},
        "inputs": {path.as_posix(): store.verified_digest(path) for path in verified},
    }


def checkpoint_folder(expert: ExpertName, run: Mapping[str, Any]) -> Path:
    """Return the folder of the checkpoints of a run."""
    return store.WORK / "pretrain" / f"{expert}-{parameters.tree_digest(run)[:16]}"


class Checkpoints:
    """The checkpoints of one run, in its own folder."""

    def __init__(self, place: Path, run: Mapping[str, Any], keep: int) -> None:
        """Create from the folder, the `run_identity` and the number of checkpoints to keep."""
        self.place = place
        self._run = dict(run)
        self._keep = keep

    def paths(self) -> list[Path]:
        """Return the existing checkpoints, oldest first."""
        return sorted(self.place.glob("step-*.pt"))

    def write(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the state after ``step`` steps, then delete the oldest excess checkpoints.

        The initial checkpoint is always kept, for comparison with the trained weights.

        Raises:
            WorkFailedError: a weight is not finite; nothing is written or deleted.
        """
        for name, value in state["model"].items():
            if not torch.isfinite(value).all():
                raise WorkFailedError(
                    f"pretrain: diverged by step {step}: {name} is not finite."
                    f" Lower training.learning_rate. Last good checkpoint: {self.last()}"
                )
        path = self.place / f"step-{step:09d}.pt"
        store.remove_partials(path)
        with store.atomic(path) as temporary:
            torch.save({"run": json.dumps(self._run), "step": step, **state}, temporary)
        for old in self.paths()[1 : -self._keep]:
            old.unlink()
        return path

    def read(self) -> dict[str, Any] | None:
        """Return the latest state, or None if there is no checkpoint.

        Raises:
            BadInputError: the checkpoint is damaged, or has a different configuration; the message
                lists the keys that differ.
        """
        paths = self.paths()
        if not paths:
            return None
        try:
            state = load_checkpoint(paths[-1])
        except BadInputError as error:
            raise BadInputError(f"{error}. Delete it and rerun.") from None
        changed = differing_keys(json.loads(state["run"]), self._run)
        if changed:
            raise BadInputError(
                f"{paths[-1]}: has a different configuration (keys: {', '.join(changed)})"
            )
        return state

    def last(self) -> str:
        """Return the path of the latest checkpoint, or ``none``."""
        paths = self.paths()
        return str(paths[-1]) if paths else "none"
