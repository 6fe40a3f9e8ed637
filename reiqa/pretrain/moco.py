"""Momentum contrast: query and key encoder, projection head, queue of negatives, InfoNCE.

Sources: MoCo-v2 (arXiv 2003.04297) for the method; Re-IQA (CVPR 2023) section 3.2 for its use on
chunks. Temperature, queue size and momentum are from the published command.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from reiqa.encoders import Encoder
from reiqa.params import TrainingParams


class Outputs(NamedTuple):
    """Outputs of `EncoderWithHead`.

    Attributes:
        embeddings: ``(N, out)`` float32 unit vectors.
        distortions: ``(N, distortions)`` outputs of the linear head on the features, if any.
    """

    embeddings: Tensor
    distortions: Tensor | None


class EncoderWithHead(nn.Module):
    """An encoder with an MLP projection head (width -> width -> ``out``) and L2 normalisation.

    Attributes:
        distortions: linear head for `distortion_losses`, or None.
    """

    def __init__(
        self, encoder: Encoder, out: int, bn_splits: int = 1, distortions: int = 0
    ) -> None:
        """Add the heads; without ``distortions`` there is no linear head."""
        super().__init__()
        self.encoder = encoder
        self._bn_splits = bn_splits
        self.head = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.ReLU(), nn.Linear(encoder.width, out)
        )
        self.distortions = nn.Linear(encoder.width, distortions) if distortions else None

    def forward(self, images: Tensor) -> Outputs:
        """Return the outputs of ``(N, 3, H, W)`` images in [0, 1]."""
        encoded = torch.cat([self.encoder(part) for part in images.chunk(self._bn_splits)])
        embeddings = functional.normalize(self.head(encoded).float(), dim=1)
        return Outputs(embeddings, self.distortions(encoded).float() if self.distortions else None)


class MoCo(nn.Module):
    """State of momentum contrast except the optimiser.

    Attributes:
        query: trained by gradient.
        key: follows the query by momentum.
        queue: ``(K, D)`` unit vectors, keys of the most recent steps.
        pointer: position of the next key in the queue.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self, encoder: Encoder, settings: TrainingParams, seed: int, distortions: int = 0
    ) -> None:
        super().__init__()
        if settings.batchnorm == "frozen":
            _freeze_statistics(encoder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.query = EncoderWithHead(
                encoder, settings.projection_dim, settings.bn_splits, distortions
            )
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(settings.queue_size, settings.projection_dim))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def negatives(self, enqueued: int) -> Tensor:
        """Return the filled part of the queue.

        MoCo starts with random vectors instead. While these are in the queue, collapsing the
        embedding lowers the loss, and a short run does not recover from that.

        Args:
            enqueued: number of keys enqueued so far.
        """
        return self.queue[:enqueued]

    @torch.no_grad()
    def update_momentum_encoder(self, momentum: float) -> None:
        """Update the key encoder with the moving average of the query encoder.

        Running batch statistics are not averaged: both encoders normalise by the current batch,
        and only the query encoder is saved.
        """
        keys: list[Tensor] = list(self.key.parameters())
        queries: list[Tensor] = list(self.query.parameters())
        torch._foreach_lerp_(keys, queries, 1 - momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Append keys to the queue and drop the oldest.

        Args:
            keys: ``(N, D)`` keys of the step from all processes; if N exceeds the size of the
                queue, the last ones are kept.
        """
        size, count = len(self.queue), len(keys)
        places = (self.pointer + torch.arange(count, device=keys.device)) % size
        self.queue[places[-size:]] = keys[-size:]
        self.pointer.add_(count).remainder_(size)


def _freeze_statistics(encoder: Encoder) -> None:
    """Normalise by the running statistics of the initial weights, which then stay unchanged."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def logits(query: Tensor, key: Tensor, queue: Tensor, within_chunk: bool) -> Tensor:
    """Return cosines of each query with its positive (first column) and its negatives.

    Args:
        query: ``(G, V, D)`` unit vectors: G groups with V versions of a crop pair.
        key: ``(G, V, D)``, the positives in the order of the queries.
        queue: ``(K, D)`` negatives shared by all queries.
        within_chunk: also use the other keys of the group as negatives. They have the same content
            with different distortions (third hypothesis of the paper), unlike the queue.

    Returns:
        ``(G * V, 1 + K)``, or ``(G * V, 1 + K + V)`` with -inf at the duplicate of the positive.
    """
    positive = (query * key).sum(2).flatten()[:, None]
    columns = [positive, query.flatten(0, 1) @ queue.T]
    if within_chunk:
        others = query @ key.transpose(1, 2)
        self_place = torch.eye(key.shape[1], dtype=torch.bool, device=key.device)
        columns.append(others.masked_fill(self_place, -torch.inf).flatten(0, 1))
    return torch.cat(columns, dim=1)


def info_nce(cosines: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy with the first column as target, a scalar."""
    target = cosines.new_zeros(len(cosines), dtype=torch.long)
    return functional.cross_entropy(cosines / temperature, target)


@torch.no_grad()
def top1(cosines: Tensor) -> Tensor:
    """Return the fraction of queries that are closer to the positive than to any negative."""
    return (cosines[:, :1] > cosines[:, 1:]).all(1).float().mean()
