"""What an encoder has learnt of distortions, on photographs that no pretraining has seen.

Windows of these photographs are distorted by each type of the bank at each level. Frozen features
of the windows then answer three questions, each without a look at the photograph tested:

- ``type_accuracy``: share of distorted windows whose type a linear classifier names.
- ``level_srcc``: rank correlation of true level and that of a linear regression, within each type.
- ``distance_srcc``: rank correlation of the level and the distance of a window's feature from that
  of its undistorted self; no fitting.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reiqa import seeds, tensors
from reiqa.distortions import LEVELS, Frame, distort

#: Penalties that both linear probes choose from, by leave-one-out error on the training windows.
ALPHAS = np.logspace(-1, 5, 13)

Numbers = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ProbeWindows:
    """Distorted windows: every type and level of every window, and the windows themselves.

    Attributes:
        pixels: ``(W, 1 + T * LEVELS, 3, S, S)`` uint8; the undistorted one first, then type by
            type, level by level.
        photograph: ``(W,)`` number of the photograph each was cut from.
        types: the T names.
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
    """Cut and distort.

    Args:
        photographs: ``(H, W, 3)`` uint8 by name; a smaller one than a window is reflected.
        types: of the bank.
        side: of a window.
        each: windows a photograph.
        seed: of places and distortions.
    """
    every = [(name, level) for name in types for level in range(1, LEVELS + 1)]
    pixels, source = [], []
    for number, name in enumerate(sorted(photographs)):
        whole = tensors.reflect(tensors.to_tensor(photographs[name])[None], side, side)
        height, width = whole.shape[-2:]
        for count in range(each):
            draw = seeds.generator("probe", seed, name, count)
            top = int(draw.integers(0, height - side, endpoint=True))
            left = int(draw.integers(0, width - side, endpoint=True))
            window = whole[..., top : top + side, left : left + side]
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
    """Measure one encoder by its features of `Windows`.

    Args:
        features: ``(W, 1 + T * LEVELS, D)``, in the order of ``Windows.pixels``.
        photograph: ``(W,)`` as in `Windows`.

    Returns:
        ``type_accuracy``, ``level_srcc``, ``distance_srcc`` (see the module), the first two
        fitted on one half of the photographs and tried on the other, both ways.
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
    """Return two masks of the windows: those of every other photograph, and the rest."""
    even = photograph % 2 == 0
    return even, ~even


def _fit_and_predict(train: Floats, test: Floats) -> tuple[float, float]:
    """Fit type and level on some windows ``(W, T * LEVELS, D)``, and try it on others.

    Returns:
        Accuracy of the type, rank correlation of the level.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    width, types = train.shape[2], train.shape[1] // LEVELS
    kind = np.repeat(np.arange(types), LEVELS)
    level = np.tile(np.arange(1, LEVELS + 1), types)
    # One column a type and one of the level: all from a single decomposition.
    targets = np.column_stack([np.eye(types)[kind], level])
    scaler = StandardScaler().fit(train.reshape(-1, width))
    model = RidgeCV(ALPHAS, alpha_per_target=True)
    model.fit(scaler.transform(train.reshape(-1, width)), np.tile(targets, (len(train), 1)))
    answers = model.predict(scaler.transform(test.reshape(-1, width)))
    named = answers[:, :types].argmax(1).reshape(len(test), -1)
    return float((named == kind).mean()), _rank_by_type(answers[:, types].reshape(len(test), -1))


def _rank_by_type(values: Floats) -> float:
    """Mean rank correlation of level and value over windows and types.

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
