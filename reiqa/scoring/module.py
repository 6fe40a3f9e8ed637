"""The scorer as a differentiable torch module from pixels to points."""

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
    """An increasing piecewise linear curve with linear extrapolation.

    Attributes:
        start: first knot and its points.
        slope: slope of the first segment.
        bends: ``(2, K - 2)`` inner knots and the change of slope at each.
    """

    start: Tensor
    slope: Tensor
    bends: Tensor

    def __init__(self, at: Tensor, points: Tensor) -> None:
        """Create from ``(K,)`` ascending knots on the fitted scale and their points."""
        super().__init__()
        slopes = points.double().diff() / at.double().diff()
        self.register_buffer("start", torch.stack([at[0], points[0]]).double())
        self.register_buffer("slope", slopes[0])
        self.register_buffer("bends", torch.stack([at[1:-1].double(), slopes.diff()]))

    def forward(self, fitted: Tensor) -> Tensor:
        """Return float64 points of regressor outputs of any shape."""
        knots, slope_changes = self.bends
        bent = ((fitted[..., None] - knots).relu() * slope_changes).sum(dim=-1)
        points: Tensor = self.start[1] + (fitted - self.start[0]) * self.slope + bent
        return points


class RegressionHead(nn.Module):
    """The regressor with separate contributions of the experts.

    It computes in float64, so that sums of thousands of terms do not depend on their order.

    Attributes:
        origin: output for the mean photograph, on the fitted scale.
        curve: calibration from the fitted scale to points.
        widths: number of features of each expert over all scales.
        slope: ``(D,)`` weight of each feature.
        mean: ``(D,)`` features of the mean photograph.
        reach: ``(D,)`` maximum deviation from the mean; larger deviations are clipped.
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
        """Create from the parameters of the regressor, content features first."""
        super().__init__()
        self.origin = origin
        self.curve = curve
        self.widths = dict(widths)
        self.register_buffer("slope", slope.double())
        self.register_buffer("mean", mean.double())
        self.register_buffer("reach", reach.double())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device, but stay float64 under ``module.half()`` and similar calls."""

        def moved(numbers: Tensor) -> Tensor:
            result = fn(numbers)
            return result if result.dtype == numbers.dtype else numbers.to(result.device)

        applied: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return applied

    def forward(self, outputs: Mapping[ExpertName, Tensor]) -> Tensor:
        """Return points from outputs ``(N,)`` of experts; missing experts contribute their mean."""
        points: Tensor = self.curve(sum(outputs.values(), self.slope.new_tensor(self.origin)))
        return points

    def expert_output(self, expert: ExpertName, rows: Tensor) -> Tensor:
        """Return the contribution of one expert on the fitted scale, ``(N,)`` float64.

        Args:
            expert: name of the expert.
            rows: features ``(N, D)`` of all scales.
        """
        start = 0 if expert == EXPERTS[0] else self.widths[EXPERTS[0]]
        own = slice(start, start + self.widths[expert])
        reach = self.reach[own]
        deviation = (rows.double() - self.mean[own]).clamp(-reach, reach)
        return (deviation * self.slope[own]).sum(dim=1)

    def shares(self, outputs: Mapping[ExpertName, Tensor]) -> dict[ExpertName, Tensor]:
        """Return the contribution of each expert in points, ``(N,)`` float64.

        The curve is nonlinear, so a contribution is the mean over both orders of adding the experts
        (Shapley value). The contributions and the points of the mean photograph sum to the score.
        """
        both, mean = self(outputs), self({})
        content, quality = (self({name: outputs[name]}) for name in EXPERTS)
        return {
            "content": (content - mean + both - quality) / 2,
            "quality": (quality - mean + both - content) / 2,
        }


def read_head(bundle: Bundle) -> RegressionHead:
    """Load the regressor of a bundle.

    Raises:
        BadInputError: the file is invalid, or its width does not match the experts.
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
        raise BadInputError(
            f"{path}: has shape {tuple(slope.shape)}, but the features have {widths}"
        )
    return RegressionHead(origin, curve, slope, mean, reach, widths)


def read_experts(bundle: Bundle) -> dict[ExpertName, Encoder]:
    """Load the encoders of a bundle.

    Raises:
        BadInputError: a file is not an encoder, or does not match the manifest.
    """
    return {expert: _read_expert(bundle, expert) for expert in EXPERTS}


def _read_expert(bundle: Bundle, expert: ExpertName) -> Encoder:
    path, expected = bundle.part(f"{expert}.safetensors"), bundle.manifest.experts[expert]
    encoder = encoders.load_encoder(path)
    if (encoder.expert, encoder.backbone) != (expert, expected.backbone):
        raise BadInputError(
            f"{path}: is {encoder.expert}, {encoder.backbone};"
            f" the manifest says {expert}, {expected.backbone}"
        )
    return encoder


class ScorerModule(nn.Module):
    """Differentiable module from images to scores.

    The weights are frozen; gradients flow to the images.

    Attributes:
        encoders: content and quality encoder.
        scales: 1 or 0.5 each.
        head: the regressor.
        policy: resize policy.
    """

    def __init__(
        self,
        experts: Mapping[ExpertName, nn.Module],
        scales: tuple[float, ...],
        head: RegressionHead,
        policy: ResizePolicy,
    ) -> None:
        """Create from the parts of a bundle, with pooling applied to the experts."""
        super().__init__()
        self.encoders = nn.ModuleDict({name: experts[name] for name in EXPERTS})
        self.scales = scales
        self.head = head
        self.policy = policy
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ScorerModule":
        """Do nothing: the module always stays in evaluation mode."""
        super().train(False)
        return self

    def forward(self, batch: Tensor) -> Tensor:
        """Return the scores of images, higher is better.

        Args:
            batch: ``(N, 3, H, W)`` float in [0, 1].

        Returns:
            ``(N,)`` scores of the same dtype from 0 to 100; beyond for images that are worse or
            better than all rated images.

        Raises:
            BadInputError: the batch is not of floats.
        """
        if not batch.is_floating_point():
            raise BadInputError(f"batch of {batch.dtype}: expected floats in [0, 1]")
        # PyTorch's antialiased resize does not support half types.
        images = batch.to(torch.promote_types(batch.dtype, torch.float32))
        views = scaled_views(resize_batch(images, self.policy), self.scales)
        return self.points(views).to(batch.dtype)

    def points(self, views: Sequence[Tensor]) -> Tensor:
        """Return scores ``(N,)`` float64 from views of the images at each scale."""
        outputs = {}
        for name in EXPERTS:
            rows = torch.cat([self.encoders[name](view) for view in views], dim=1)
            outputs[name] = self.head.expert_output(name, rows)
        points: Tensor = self.head(outputs)
        return points
