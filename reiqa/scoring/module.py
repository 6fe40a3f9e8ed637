"""The scorer as one network: from pixels to points, each step differentiable."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reiqa import encoders
from reiqa.encoders import Encoder
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.features.encoding import scaled_views
from reiqa.params import EXPERTS, ExpertName
from reiqa.scoring.bundle import REGRESSOR, Bundle
from reiqa.scoring.inputs import resize_batch


class CalibrationModule(nn.Module):
    """A rising curve of straight pieces, the outermost of which go on for ever.

    Attributes:
        start: the first place and its points.
        slope: of the first piece.
        bends: ``(2, K - 2)`` where the curve bends, and by how much its slope changes there.
    """

    start: Tensor
    slope: Tensor
    bends: Tensor

    def __init__(self, at: Tensor, points: Tensor) -> None:
        """Take ``(K,)`` ascending places, on the scale fitted on, and their points."""
        super().__init__()
        slopes = points.double().diff() / at.double().diff()
        self.register_buffer("start", torch.stack([at[0], points[0]]).double())
        self.register_buffer("slope", slopes[0])
        self.register_buffer("bends", torch.stack([at[1:-1].double(), slopes.diff()]))

    def forward(self, fitted: Tensor) -> Tensor:
        """Return points of answers of any shape, float64."""
        places, turns = self.bends
        bent = ((fitted[..., None] - places).relu() * turns).sum(dim=-1)
        points: Tensor = self.start[1] + (fitted - self.start[0]) * self.slope + bent
        return points


class RegressionHead(nn.Module):
    """The regressor: what each expert's features add to the mean photograph's points.

    Its arithmetic is float64: a sum of thousands of terms then does not depend on their order.

    Attributes:
        origin: the mean photograph's answer, on the scale that the regressor was fitted on.
        curve: from there to points.
        widths: features of each expert, all scales.
        slope: ``(D,)`` what a unit of each feature adds to the answer.
        mean: ``(D,)`` features of the mean photograph.
        reach: ``(D,)`` how far from that mean a feature still counts.
    """

    slope: Tensor
    mean: Tensor
    reach: Tensor

    def __init__(
        self,
        origin: float,
        curve: CalibrationModule,
        slope: Tensor,
        mean: Tensor,
        reach: Tensor,
        widths: Mapping[ExpertName, int],
    ) -> None:
        """Take the regressor's numbers, content's features first."""
        super().__init__()
        self.origin = origin
        self.curve = curve
        self.widths = dict(widths)
        self.register_buffer("slope", slope.double())
        self.register_buffer("mean", mean.double())
        self.register_buffer("reach", reach.double())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device, and stay float64 under ``module.half()`` and the like."""

        def moved(numbers: Tensor) -> Tensor:
            result = fn(numbers)
            return result if result.dtype == numbers.dtype else numbers.to(result.device)

        applied: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return applied

    def forward(self, answers: Mapping[ExpertName, Tensor]) -> Tensor:
        """Return the points of the experts' answers, ``(N,)`` each; who is not given is mean."""
        points: Tensor = self.curve(sum(answers.values(), self.slope.new_tensor(self.origin)))
        return points

    def answer(self, expert: ExpertName, rows: Tensor) -> Tensor:
        """Return what one expert adds to the regressor's answer, ``(N,)`` float64.

        Args:
            expert: which.
            rows: its features ``(N, D)``, all scales.
        """
        start = 0 if expert == EXPERTS[0] else self.widths[EXPERTS[0]]
        own = slice(start, start + self.widths[expert])
        reach = self.reach[own]
        beyond = (rows.double() - self.mean[own]).clamp(-reach, reach)
        return (beyond * self.slope[own]).sum(dim=1)

    def shares(self, answers: Mapping[ExpertName, Tensor]) -> dict[ExpertName, Tensor]:
        """Return what each expert adds to the mean photograph's points, ``(N,)`` float64.

        The curve bends, so it matters who comes first; each share is the mean of both orders
        (Shapley's value), and with the mean photograph's points they make the score.
        """
        whole, mean = self(answers), self({})
        content, quality = (self({name: answers[name]}) for name in EXPERTS)
        return {
            "content": (content - mean + whole - quality) / 2,
            "quality": (quality - mean + whole - content) / 2,
        }


def read_head(bundle: Bundle) -> RegressionHead:
    """Read a bundle's regressor.

    Raises:
        BadInputError: it is no safetensors file, or of another width than its experts.
    """
    path, manifest = bundle.part(REGRESSOR), bundle.manifest
    widths = {
        expert: len(manifest.recipe.scales) * manifest.experts[expert].width for expert in EXPERTS
    }
    try:
        tensors = load_file(path)
        slope, mean, reach = (tensors[name] for name in ("slope", "mean", "reach"))
        curve = CalibrationModule(tensors["curve_at"], tensors["curve_to"])
        origin = float(tensors["origin"])
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInputError(f"{path}: not a regressor ({error})") from None
    if {slope.shape, mean.shape, reach.shape} != {(sum(widths.values()),)}:
        raise BadInputError(f"{path}: {tuple(slope.shape)} numbers for features of {widths}")
    return RegressionHead(origin, curve, slope, mean, reach, widths)


def read_experts(bundle: Bundle) -> dict[ExpertName, Encoder]:
    """Read a bundle's encoders.

    Raises:
        BadInputError: a file is no encoder, or not the one the manifest tells of.
    """
    return {expert: _read_expert(bundle, expert) for expert in EXPERTS}


def _read_expert(bundle: Bundle, expert: ExpertName) -> Encoder:
    path, told = bundle.part(f"{expert}.safetensors"), bundle.manifest.experts[expert]
    encoder = encoders.load_encoder(path)
    if (encoder.expert, encoder.backbone) != (expert, told.backbone):
        raise BadInputError(
            f"{path}: {encoder.expert}, {encoder.backbone};"
            f" the bundle tells of {expert}, {told.backbone}"
        )
    return encoder


class ScorerModule(nn.Module):
    """Images to points: the definition of a bundle's score, as plain differentiable layers.

    Its weights are frozen; gradients flow to the images.

    Attributes:
        encoders: content and quality.
        scales: 1 or 0.5 each.
        head: the regressor.
        viewing: how large the experts see an image.
    """

    def __init__(
        self,
        experts: Mapping[ExpertName, nn.Module],
        scales: tuple[float, ...],
        head: RegressionHead,
        viewing: ResizePolicy,
    ) -> None:
        """Take the parts of a bundle; its experts give features as its recipe pools them."""
        super().__init__()
        self.encoders = nn.ModuleDict({name: experts[name] for name in EXPERTS})
        self.scales = scales
        self.head = head
        self.viewing = viewing
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ScorerModule":
        """Stay in evaluation mode, whatever a training loop asks of its modules."""
        super().train(False)
        return self

    def forward(self, batch: Tensor) -> Tensor:
        """Return the scores of images, higher is better.

        Args:
            batch: ``(N, 3, H, W)`` float in [0, 1].

        Returns:
            ``(N,)`` of the same type: 0 to 100, and beyond where an image is worse or better than
            any rated one.

        Raises:
            BadInputError: the batch is not of floats.
        """
        if not batch.is_floating_point():
            raise BadInputError(f"batch of {batch.dtype}: give floats in [0, 1]")
        # PyTorch's antialiased resize knows no smaller types.
        images = batch.to(torch.promote_types(batch.dtype, torch.float32))
        seen = scaled_views(resize_batch(images, self.viewing), self.scales)
        return self.points(seen).to(batch.dtype)

    def points(self, seen: Sequence[Tensor]) -> Tensor:
        """Return scores ``(N,)`` float64 of images as the experts see them, at each scale."""
        answers = {}
        for name in EXPERTS:
            rows = torch.cat([self.encoders[name](view) for view in seen], dim=1)
            answers[name] = self.head.answer(name, rows)
        points: Tensor = self.head(answers)
        return points
