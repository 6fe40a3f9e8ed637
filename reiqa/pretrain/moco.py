"""Momentum contrast: query and key encoder, projection, queue of negatives, InfoNCE.

Sources: MoCo-v2 (arXiv 2003.04297) for the engine; Re-IQA (CVPR 2023) section 3.2 for its use on
chunks; the temperature, queue and momentum are those of the published command.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from reiqa.encoders import Encoder
from reiqa.params import TrainingParams


class EncoderWithHead(nn.Module):
    """An encoder with the projection that the loss sees: width -> width -> ``out``, length 1."""

    def __init__(self, encoder: Encoder, out: int, parts: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self._parts = parts
        self.head = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.ReLU(), nn.Linear(encoder.width, out)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors ``(N, out)`` float32 of ``(N, 3, H, W)`` images in [0, 1]."""
        encoded = torch.cat([self.encoder(part) for part in images.chunk(self._parts)])
        return functional.normalize(self.head(encoded).float(), dim=1)


class MoCo(nn.Module):
    """All that momentum contrast keeps from step to step, optimiser apart.

    Attributes:
        query: trained by gradient.
        key: follows the query by momentum.
        queue: ``(K, D)`` unit vectors, keys of the latest steps.
        pointer: where in the queue the next key goes.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, encoder: Encoder, settings: TrainingParams, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.query = EncoderWithHead(encoder, settings.projection_dim, settings.bn_splits)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(settings.queue_size, settings.projection_dim))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def negatives(self, enqueued: int) -> Tensor:
        """Return the part of the queue that holds keys.

        MoCo starts with random vectors instead. To shrink the embedding to one point then lowers
        the loss as long as they last, and a short run spends itself in undoing that.

        Args:
            enqueued: keys put in so far.
        """
        return self.queue[:enqueued]

    @torch.no_grad()
    def update_momentum_encoder(self, momentum: float) -> None:
        """Move the key encoder towards the query encoder.

        Batch statistics are not moved: both encoders normalise by the batch at hand, and only the
        query encoder is kept.
        """
        keys: list[Tensor] = list(self.key.parameters())
        queries: list[Tensor] = list(self.query.parameters())
        torch._foreach_lerp_(keys, queries, 1 - momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys in the queue, the oldest leaving; of more keys than fit the last are kept.

        Args:
            keys: ``(N, D)`` of the whole step, over all processes.
        """
        size, count = len(self.queue), len(keys)
        places = (self.pointer + torch.arange(count, device=keys.device)) % size
        self.queue[places[-size:]] = keys[-size:]
        self.pointer.add_(count).remainder_(size)


def logits(query: Tensor, key: Tensor, queue: Tensor, within_chunk: bool) -> Tensor:
    """Cosines of each query with its positive (first column) and its negatives.

    Args:
        query: ``(G, V, D)`` unit vectors: V versions of a crop pair make one of G groups.
        key: ``(G, V, D)``, each the positive of the query at its place.
        queue: ``(K, D)`` negatives of all queries.
        within_chunk: the group's other keys are negatives too. They show the same content under
            other distortions, as the method's third hypothesis asks; the queue never does.

    Returns:
        ``(G * V, 1 + K)``, or ``(G * V, 1 + K + V)`` where the positive's second place is -inf.
    """
    positive = (query * key).sum(2).flatten()[:, None]
    columns = [positive, query.flatten(0, 1) @ queue.T]
    if within_chunk:
        others = query @ key.transpose(1, 2)
        self_place = torch.eye(key.shape[1], dtype=torch.bool, device=key.device)
        columns.append(others.masked_fill(self_place, -torch.inf).flatten(0, 1))
    return torch.cat(columns, dim=1)


def info_nce(cosines: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of picking the first column, a scalar."""
    target = cosines.new_zeros(len(cosines), dtype=torch.long)
    return functional.cross_entropy(cosines / temperature, target)


@torch.no_grad()
def top1(cosines: Tensor) -> Tensor:
    """Return the share of queries that lie closer to the positive than to any negative."""
    return (cosines[:, :1] > cosines[:, 1:]).all(1).float().mean()
