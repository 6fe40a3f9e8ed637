"""Whether an encoder knows a photograph again: nearest neighbours among crops of many.

Two crops are cut at random of each photograph. A crop is found if, of the second crops of all
photographs, that of its own has the nearest feature (cosine, the mean of all features removed:
what every image has in common says nothing). No fitting, no colour change: content alone.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from reiqa import seeds

#: Least and greatest share of a photograph that a crop shows, as in MoCo-v2's training views.
SHARES = (0.2, 1.0)


def cut_crop_pairs(photographs: Iterable[Tensor], side: int) -> Tensor:
    """Return two crops of each photograph, a function of its place alone.

    Args:
        photographs: each ``(3, H, W)`` uint8.
        side: that crops are scaled to.

    Returns:
        ``(N, 2, 3, side, side)`` uint8.
    """
    from torchvision.transforms import v2

    cut = v2.RandomResizedCrop(side, scale=SHARES, antialias=True)
    pairs = []
    with torch.random.fork_rng(devices=[]):
        for number, pixels in enumerate(photographs):
            torch.manual_seed(seeds.derive("retrieval", number))
            pairs.append(torch.stack([cut(pixels), cut(pixels)]))
    return torch.stack(pairs)


def retrieval_accuracy(features: Tensor) -> float:
    """Return the share of crops whose nearest neighbour is the other crop of the photograph.

    Args:
        features: ``(N, 2, D)``; each of the two crops is sought by the other.
    """
    units = functional.normalize(features - features.mean((0, 1)), dim=2)
    cosines = units[:, 0] @ units[:, 1].T
    own = torch.arange(len(cosines))
    hits = torch.cat([cosines.argmax(1) == own, cosines.argmax(0) == own])
    return float(hits.double().mean())
