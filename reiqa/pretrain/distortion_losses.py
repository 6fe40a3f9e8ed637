"""Losses on the distortions of a chunk, added to the contrastive loss (``distortion_losses``).

The labels cost nothing: the bank knows the type and level of each version, and a full-reference
measure compares a version with the undistorted crop. Sources: type and level as targets, and
versions under the same distortion as positives across photographs, CONTRIQUE (TIP 2022), with the
loss of Khosla et al. (NeurIPS 2020); a full-reference measure as target, DeepFL-IQA (2020).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from reiqa.chunks.recipe import ChunkRecipe
from reiqa.chunks.render import RenderedPairs
from reiqa.distortions import LEVELS
from reiqa.params import DistortionLossParams
from reiqa.tensors import device_table, upload

#: Outputs of the linear head besides one logit per type and one for undistorted images.
REGRESSED = 2

# Mean and deviation of the measure over rendered chunks; they only set the scale of the target.
_SEVERITY_MEAN, _SEVERITY_DEVIATION = 0.24, 0.13


@dataclass(frozen=True)
class DistortionLabels:
    """Labels of the query crops of a step, each ``(G, V)``.

    Attributes:
        type: index of the type in the bank; the number of types for an undistorted crop.
        level: 0 (undistorted) to ``LEVELS``.
        severity: MDSI (Nafchi et al., 2016) against the undistorted crop, 0 if equal.
    """

    type: Tensor
    level: Tensor
    severity: Tensor


def share_distortions(recipes: Sequence[ChunkRecipe], sharing: int) -> list[ChunkRecipe]:
    """Give each ``sharing`` consecutive recipes the types and levels of the first of them."""
    first = [recipes[place - place % sharing] for place in range(len(recipes))]
    return [
        replace(own, types=other.types, levels=other.levels)
        for own, other in zip(recipes, first, strict=True)
    ]


@torch.no_grad()
def label_pairs(pairs: RenderedPairs, recipes: Sequence[ChunkRecipe]) -> DistortionLabels:
    """Return the labels of rendered pairs; a group is one chunk at one scale."""
    plan, device = recipes[0].plan, pairs.query.device
    number = {name: at for at, name in enumerate(plan.types)}
    types = [[len(number), *(number[name] for name in recipe.types)] for recipe in recipes]
    levels = [[0, *recipe.levels] for recipe in recipes]
    scales = range(len(plan.scales))
    moved = upload(
        [[recipes[0].swapped(s, v) != recipes[0].swapped(s, 0) for v in range(plan.versions)]
         for s in scales],
        device,
    )  # fmt: skip
    clean = torch.where(
        moved[None, :, :, None, None, None], pairs.key[:, :, :1], pairs.query[:, :, :1]
    )
    severity = _severity(pairs.query.flatten(0, 2), clean.flatten(0, 2))
    return DistortionLabels(
        upload(types, device).repeat_interleave(len(scales), 0),
        upload(levels, device).repeat_interleave(len(scales), 0),
        severity.view(-1, plan.versions),
    )


def _severity(distorted: Tensor, clean: Tensor) -> Tensor:
    """Return MDSI ``(N,)`` of ``(N, 3, P, P)`` crops against the undistorted ones."""
    if distorted.device.type != "cpu":
        # piq checks the range of its arguments, for which the host waits for the device.
        return mdsi_on_device(distorted, clean)
    from piq import mdsi

    measured: Tensor = mdsi(distorted, clean, data_range=1.0, reduction="none")
    return measured


def mdsi_on_device(distorted: Tensor, clean: Tensor) -> Tensor:
    """Return MDSI (Nafchi et al., 2016) ``(N,)``; the values of ``piq.mdsi`` up to rounding.

    Args:
        distorted: ``(N, 3, H, W)`` in [0, 1].
        clean: of the same shape.
    """
    size = max(1, round(min(clean.shape[-2:]) / 256))
    margins = [(size - 1) // 2, size // 2] * 2
    # Luminance and two chromatic channels, at full range 255.
    mixing, prewitt = (device_table(build, clean.device) for build in (_lhm, _prewitt))
    light, chroma = [], []
    for images in (distorted, clean):
        averaged = functional.avg_pool2d(functional.pad(images * 255, margins), size)
        planes = torch.einsum("ij,njhw->nihw", mixing, averaged)
        light.append(planes[:, :1])
        chroma.append(planes[:, 1:])
    one, two, both = (
        functional.conv2d(plane, prewitt, padding=1).square().sum(1).sqrt()
        for plane in (*light, (light[0] + light[1]) / 2)
    )
    gradients = _dice(one, two, 140) + _dice(one, both, 55) - _dice(two, both, 55)
    products = 2 * (chroma[0] * chroma[1]).sum(1) + 550
    colours = products / ((chroma[0].square() + chroma[1].square()).sum(1) + 550)
    similarity = 0.6 * gradients + 0.4 * colours
    # The fourth root of a negative number is complex.
    roots = torch.polar(similarity.abs() ** 0.25, (similarity < 0) * (math.pi / 4))
    return (roots - roots.mean((1, 2), keepdim=True)).abs().mean((1, 2)) ** 0.25


def _dice(one: Tensor, two: Tensor, constant: float) -> Tensor:
    return (2 * one * two + constant) / (one.square() + two.square() + constant)


def _lhm() -> Tensor:
    return torch.tensor([[0.2989, 0.587, 0.114], [0.3, 0.04, -0.35], [0.34, -0.6, 0.17]])


def _prewitt() -> Tensor:
    across = torch.tensor([[-1.0, 0.0, 1.0]] * 3) / 3
    return torch.stack([across, across.T])[:, None]


def head_width(types: int) -> int:
    """Return the number of outputs of the linear head for a bank of ``types`` types."""
    return types + 1 + REGRESSED


def distortion_loss(
    embeddings: Tensor,
    predictions: Tensor,
    labels: DistortionLabels,
    weights: DistortionLossParams,
    temperature: float,
) -> Tensor:
    """Return the weighted sum of the losses, a scalar.

    Args:
        embeddings: ``(G, V, D)`` unit vectors of the queries.
        predictions: ``(G, V, T + 1 + REGRESSED)``: type logits, level, severity.
        labels: of the same crops.
        weights: weight of each loss.
        temperature: temperature of the supervised contrast.
    """
    logits, level, severity = (
        predictions.flatten(0, 1).float().split([predictions.shape[-1] - REGRESSED, 1, 1], 1)
    )
    level_target = (labels.level.flatten() - LEVELS / 2) / (LEVELS / 3)
    severity_target = (labels.severity.flatten() - _SEVERITY_MEAN) / _SEVERITY_DEVIATION
    return (
        weights.type * functional.cross_entropy(logits, labels.type.flatten())
        + weights.level * functional.mse_loss(level[:, 0], level_target)
        + weights.severity * functional.smooth_l1_loss(severity[:, 0], severity_target)
        + weights.contrast * supervised_contrast(embeddings, labels, temperature)
    )


def supervised_contrast(embeddings: Tensor, labels: DistortionLabels, temperature: float) -> Tensor:
    """Return the supervised contrastive loss, a scalar; 0 if no crop has a positive.

    Positives of a crop are the crops of other groups with the same type and level. The other crops
    of its group, which have the same content, are among the negatives.

    Args:
        embeddings: ``(G, V, D)`` unit vectors.
        labels: labels of the crops.
        temperature: divides the cosines.
    """
    groups, versions, _ = embeddings.shape
    units = embeddings.flatten(0, 1)
    kind = (labels.type * (LEVELS + 1) + labels.level).flatten()
    group = torch.arange(groups, device=units.device).repeat_interleave(versions)
    positive = (kind[:, None] == kind) & (group[:, None] != group)
    own = torch.eye(len(units), dtype=torch.bool, device=units.device)
    cosines = (units @ units.T / temperature).masked_fill(own, -torch.inf)
    shares = functional.log_softmax(cosines, 1).masked_fill(~positive, 0).sum(1)
    count = positive.sum(1)
    return -(shares / count.clamp(min=1)).sum() / (count > 0).sum().clamp(min=1)
