"""Instance retrieval: nearest neighbours among crops of many photographs.

Two random crops are cut from each photograph. A crop counts as found if its nearest neighbour among
the other crops of all photographs is from the same photograph. The metric is the cosine of features
after subtracting the mean of all features. Nothing is fitted, and colours are not changed.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from reiqa import seeds

#: Range of the area fraction of a crop, as in MoCo-v2's training views.
AREA_RANGE = (0.2, 1.0)


def cut_crop_pairs(photographs: Iterable[Tensor], side: int) -> Tensor:
    """Return two random crops of each photograph, seeded by its position.

    Args:
        photographs: each ``(3, H, W)`` uint8.
        side: side that crops are resized to.

    Returns:
        ``(N, 2, 3, side, side)`` uint8.
    """
    from torchvision.transforms import v2

    cut = v2.RandomResizedCrop(side, scale=AREA_RANGE, antialias=True)
    pairs = []
    with torch.random.fork_rng(devices=[]):
        for number, pixels in enumerate(photographs):
            torch.manual_seed(seeds.derive("retrieval", number))
            pairs.append(torch.stack([cut(pixels), cut(pixels)]))
    return torch.stack(pairs)


def retrieval_accuracy(features: Tensor) -> float:
    """Return the fraction of crops whose nearest neighbour is from the same photograph.

    Args:
        features: ``(N, 2, D)``; retrieval runs in both directions.
    """
    units = functional.normalize(features - features.mean((0, 1)), dim=2)
    cosines = units[:, 0] @ units[:, 1].T
    own = torch.arange(len(cosines))
    hits = torch.cat([cosines.argmax(1) == own, cosines.argmax(0) == own])
    return float(hits.double().mean())
