"""Linear probes of distortions, on photographs that were not used for pretraining.

Windows of these photographs are distorted by each type of the bank at each level. Three metrics are
computed from the frozen features, with cross-validation over photographs:

- ``type_accuracy``: accuracy of a linear classifier of the distortion type.
- ``level_srcc``: rank correlation of the true level and a linear regression, within each type.
- ``distance_srcc``: rank correlation of the level and the feature distance to the undistorted
  window; needs no fitting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reiqa import seeds, tensors
from reiqa.distortions import LEVELS, Frame, distort

#: Penalty grid of both linear probes; chosen by leave-one-out error on the training windows.
ALPHAS = np.logspace(-1, 5, 13)

Numbers = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ProbeWindows:
    """Windows at every distortion type and level.

    Attributes:
        pixels: ``(W, 1 + T * LEVELS, 3, S, S)`` uint8; the undistorted window first, then ordered
            by type and level.
        photograph: ``(W,)`` number of the photograph of each window.
        types: names of the T types.
    """

    pixels: Tensor
    photograph: Numbers
    types: tuple[str, ...]


def cut_windows(
    photographs: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]],
    types: tuple[str, ...],
    side: int,
    each: int,
    seed: int,
) -> ProbeWindows:
    """Cut windows from photographs and distort them.

    Args:
        photographs: ``(H, W, 3)`` uint8 by name; reflected if smaller than a window.
        types: distortion types.
        side: side of a window in pixels.
        each: number of windows per photograph.
        seed: seed of positions and distortions.
    """
    every = [(name, level) for name in types for level in range(1, LEVELS + 1)]
    pixels, source = [], []
    for number, name in enumerate(sorted(photographs)):
        padded = tensors.reflect(tensors.to_tensor(photographs[name])[None], side, side)
        height, width = padded.shape[-2:]
        for count in range(each):
            draw = seeds.generator("probe", seed, name, count)
            top = int(draw.integers(0, height - side, endpoint=True))
            left = int(draw.integers(0, width - side, endpoint=True))
            window = padded[..., top : top + side, left : left + side]
            copies = [seeds.derive("probe", seed, name, count, *item) for item in every]
            distorted = distort(
                window.expand(len(every), -1, -1, -1),
                [kind for kind, _ in every],
                [level for _, level in every],
                copies,
                [Frame(height=height, width=width, top=top, left=left)] * len(every),
            )
            pixels.append(tensors.to_uint8(torch.cat([window, distorted])))
            source.append(number)
    return ProbeWindows(torch.stack(pixels), np.array(source), types)


def probe_features(features: Floats, photograph: Numbers) -> dict[str, float]:
    """Compute the probe metrics of one encoder.

    Args:
        features: ``(W, 1 + T * LEVELS, D)``, in the order of ``ProbeWindows.pixels``.
        photograph: ``(W,)`` as in `ProbeWindows`.

    Returns:
        ``type_accuracy``, ``level_srcc`` and ``distance_srcc`` (see the module). The first two use
        two-fold cross-validation over photographs.
    """
    plain, distorted = features[:, :1], features[:, 1:]
    distance = np.linalg.norm(distorted - plain, axis=2)
    accuracy, level = zip(
        *(_fit_and_predict(distorted[~half], distorted[half]) for half in _halves(photograph)),
        strict=True,
    )
    return {
        "type_accuracy": float(np.mean(accuracy)),
        "level_srcc": float(np.mean(level)),
        "distance_srcc": _rank_by_type(distance),
    }


def _halves(photograph: Numbers) -> tuple[Numbers, Numbers]:
    """Return masks of the windows of even and odd photographs."""
    even = photograph % 2 == 0
    return even, ~even


def _fit_and_predict(train: Floats, test: Floats) -> tuple[float, float]:
    """Fit type and level on training windows ``(W, T * LEVELS, D)`` and evaluate on test windows.

    Returns:
        Accuracy of the type and rank correlation of the level.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    width, types = train.shape[2], train.shape[1] // LEVELS
    kind = np.repeat(np.arange(types), LEVELS)
    level = np.tile(np.arange(1, LEVELS + 1), types)
    # One column per type and one for the level, to share a single decomposition.
    targets = np.column_stack([np.eye(types)[kind], level])
    scaler = StandardScaler().fit(train.reshape(-1, width))
    model = RidgeCV(ALPHAS, alpha_per_target=True)
    model.fit(scaler.transform(train.reshape(-1, width)), np.tile(targets, (len(train), 1)))
    predictions = model.predict(scaler.transform(test.reshape(-1, width)))
    predicted_type = predictions[:, :types].argmax(1).reshape(len(test), -1)
    return float((predicted_type == kind).mean()), _rank_by_type(
        predictions[:, types].reshape(len(test), -1)
    )


def _rank_by_type(values: Floats) -> float:
    """Return the mean rank correlation of level and value over windows and types.

    Args:
        values: ``(W, T * LEVELS)``.
    """
    from scipy.stats import rankdata

    ranks = rankdata(values.reshape(-1, LEVELS), axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    levels = np.arange(LEVELS) - (LEVELS - 1) / 2
    norms = np.linalg.norm(ranks, axis=1) * np.linalg.norm(levels)
    products = ranks @ levels
    return float(np.mean(np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)))
