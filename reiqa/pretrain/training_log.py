"""Watching a run: the bar, the curve on disk, live curves, and a stop when it diverges."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reiqa import store, text
from reiqa.errors import WorkFailedError

#: Rows of the curve, at most about so many: each is the mean over the steps since the last.
ROWS = 1000

COLUMNS = ("step", "epoch", "loss", "top1", "learning_rate", "alignment", "uniformity")
_MEASURES = COLUMNS[2:]

# Rows of a step's embedding that uniformity compares: its cost grows with the square.
_COMPARED = 512

# Mean squared distance of unit vectors from their mean; float32 cannot tell less from nothing.
_COLLAPSED = 1e-7


@torch.no_grad()
def alignment(query: Tensor, key: Tensor) -> Tensor:
    """Return the mean squared distance of positives, a scalar (Wang and Isola, 2020)."""
    return (query - key).square().sum(1).mean()


@torch.no_grad()
def uniformity(query: Tensor) -> Tensor:
    """Return log of the mean Gaussian potential of all pairs, a scalar (Wang and Isola, 2020).

    0 for a single point, the lower the more evenly spread.
    """
    squares = torch.pdist(query[:_COMPARED]).square()
    return squares.mul(-2).exp().mean().log()


@torch.no_grad()
def embedding_variance(query: Tensor) -> Tensor:
    """Return the mean squared distance of the embedding from its mean, a scalar."""
    return query.var(0, unbiased=False).sum()


def check_divergence(step: int, loss: float, spread_now: float, last_good: str) -> None:
    """Stop a run that has diverged.

    Raises:
        WorkFailedError: the loss is not finite, or all embeddings are one point.
    """
    fault = ""
    if not math.isfinite(loss):
        fault = f"the loss is {loss}"
    elif spread_now < _COLLAPSED:
        fault = f"the embedding has collapsed to one point (spread {spread_now:.1e})"
    if fault:
        raise WorkFailedError(
            f"pretrain: diverged at step {step}: {fault}; lower training.learning_rate."
            f" Last good checkpoint: {last_good}"
        )


class TrainingCurve:
    """The run's course in rows, thinned by averaging; goes into each checkpoint and the end.

    Throughput is no part of it: the curve depends on the parameters alone.
    """

    def __init__(self, total: int, state: Mapping[str, Any] | None = None) -> None:
        """Start a curve of ``total`` steps, or go on from a checkpoint's ``state``."""
        self._every = max(1, total // ROWS)
        self.rows: list[list[float]] = [list(row) for row in state["rows"]] if state else []
        self._sums: list[float] = list(state["sums"]) if state else [0.0] * len(_MEASURES)
        self._counted: int = state["counted"] if state else 0

    def add(self, step: int, epoch: int, measures: Mapping[str, float]) -> bool:
        """Count a step (from 1); say whether it completed a row."""
        self._sums = [
            total + measures[name] for total, name in zip(self._sums, _MEASURES, strict=True)
        ]
        self._counted += 1
        if step % self._every:
            return False
        self.rows.append([step, epoch, *(total / self._counted for total in self._sums)])
        self._sums, self._counted = [0.0] * len(_MEASURES), 0
        return True

    def state(self) -> dict[str, Any]:
        """Return what `Curve` takes to go on."""
        return {"rows": self.rows, "sums": self._sums, "counted": self._counted}

    def last(self) -> dict[str, float]:
        """Return the latest row by column; empty before the first."""
        return dict(zip(COLUMNS, self.rows[-1], strict=True)) if self.rows else {}

    def write(self, path: Path) -> None:
        """Write the rows as CSV."""
        rows = (
            [int(step), int(epoch), *(f"{value:.6g}" for value in measures)]
            for step, epoch, *measures in self.rows
        )
        store.write_text(path, text.format_csv(COLUMNS, rows))


class LiveLogger:
    """Curves that DVC can follow while the run goes on; does nothing where DVCLive is missing."""

    def __init__(self, place: Path, curve: TrainingCurve) -> None:
        """Write below ``place``, which lies outside every declared output, from the first row on.

        What an earlier process of the run wrote there is replaced: it may have gone further than
        its last checkpoint.
        """
        self._live = _dvclive(place)
        for row in curve.rows:
            self.row(dict(zip(COLUMNS, row, strict=True)))

    def row(self, row: Mapping[str, float], **more: float) -> None:
        """Add a row of the curve, and whatever more there is to show."""
        if self._live is None:
            return
        self._live.step = int(row["step"])
        for name, value in {**row, **more}.items():
            if name != "step":
                self._live.log_metric(name, value)

    def close(self) -> None:
        """Finish the files."""
        if self._live is not None:
            self._live.end()


def _dvclive(place: Path) -> Any:
    try:
        from dvclive.live import Live as DvcLive
    except ImportError:
        return None
    return DvcLive(str(place), save_dvc_exp=False, dvcyaml=None, report=None)


def format_metrics(measures: Mapping[str, float]) -> str:
    """Say in a few words how it goes, for the bar."""
    return (
        f"loss {measures['loss']:.3f}, top-1 {measures['top1']:.2f},"
        f" lr {measures['learning_rate']:.2g}"
    )
