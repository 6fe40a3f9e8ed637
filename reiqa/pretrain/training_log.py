"""Training metrics: progress bar, curve file, DVCLive, and divergence check."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reiqa import store, text
from reiqa.errors import WorkFailedError

#: Approximate maximum number of rows of the curve; a row averages the steps since the last row.
ROWS = 1000

COLUMNS = ("step", "epoch", "loss", "top1", "learning_rate", "alignment", "uniformity")
_MEASURES = COLUMNS[2:]

# Number of embeddings that uniformity compares; its cost is quadratic.
_COMPARED = 512

# Variance of unit vectors that float32 cannot distinguish from zero.
_COLLAPSED = 1e-7


@torch.no_grad()
def alignment(query: Tensor, key: Tensor) -> Tensor:
    """Return the mean squared distance of positives, a scalar (Wang and Isola, 2020)."""
    return (query - key).square().sum(1).mean()


@torch.no_grad()
def uniformity(query: Tensor) -> Tensor:
    """Return log of the mean Gaussian potential of all pairs, a scalar (Wang and Isola, 2020).

    0 for a single point; lower values are more uniform.
    """
    squares = torch.pdist(query[:_COMPARED]).square()
    return squares.mul(-2).exp().mean().log()


@torch.no_grad()
def embedding_variance(query: Tensor) -> Tensor:
    """Return the mean squared distance of the embedding from its mean, a scalar."""
    return query.var(0, unbiased=False).sum()


def check_divergence(step: int, loss: float, variance: float, last_good: str) -> None:
    """Raise if a run has diverged.

    Raises:
        WorkFailedError: the loss is not finite, or all embeddings are one point.
    """
    problem = ""
    if not math.isfinite(loss):
        problem = f"the loss is {loss}"
    elif variance < _COLLAPSED:
        problem = f"the embedding has collapsed to one point (variance {variance:.1e})"
    if problem:
        raise WorkFailedError(
            f"pretrain: diverged at step {step}: {problem}. Lower training.learning_rate."
            f" Last good checkpoint: {last_good}"
        )


class TrainingCurve:
    """Metrics of a run, averaged over intervals; saved in checkpoints and with the model.

    The curve excludes throughput, so that it is reproducible from the parameters.
    """

    def __init__(self, total: int, state: Mapping[str, Any] | None = None) -> None:
        """Start a curve of ``total`` steps, or resume from the ``state`` in a checkpoint."""
        self._every = max(1, total // ROWS)
        self.rows: list[list[float]] = [list(row) for row in state["rows"]] if state else []
        self._sums: list[float] = list(state["sums"]) if state else [0.0] * len(_MEASURES)
        self._counted: int = state["counted"] if state else 0

    def add(self, step: int, epoch: int, measures: Mapping[str, float]) -> bool:
        """Add a step (from 1); return whether it completed a row."""
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
        """Return the state to resume from."""
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
    """Writes live metrics with DVCLive; does nothing if DVCLive is not installed."""

    def __init__(self, place: Path, curve: TrainingCurve) -> None:
        """Start logging to the folder ``place`` with the rows of ``curve``.

        Files of an earlier process are replaced, as it may have logged steps after its last
        checkpoint.
        """
        self._live = _dvclive(place)
        for row in curve.rows:
            self.row(dict(zip(COLUMNS, row, strict=True)))

    def row(self, row: Mapping[str, float], **more: float) -> None:
        """Log a row of the curve and additional metrics."""
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
    """Return a short summary for the progress bar."""
    return (
        f"loss {measures['loss']:.3f}, top-1 {measures['top1']:.2f},"
        f" lr {measures['learning_rate']:.2g}"
    )
