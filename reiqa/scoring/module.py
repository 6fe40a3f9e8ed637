"""A bundle in torch: a differentiable module from pixels to points, and experts on a GPU."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from reiqa import devices, encoders
from reiqa.encoders import Encoder
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.features.encoding import FrozenEncoder, scaled_views
from reiqa.images.resize import FloatImages
from reiqa.params import EXPERTS, ExpertName
from reiqa.scoring.bundle import Bundle
from reiqa.scoring.head import Features, HeadKernel, RegressionHead


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


class KernelModule(nn.Module):
    """The RBF of one expert as a torch module; see `HeadKernel`."""

    axes: Tensor
    centres: Tensor
    coefficients: Tensor

    def __init__(self, kernel: HeadKernel) -> None:
        """Copy the parameters of a kernel."""
        super().__init__()
        self.gamma, self.at_mean = kernel.gamma, kernel.at_mean
        for name in ("axes", "centres", "coefficients"):
            self.register_buffer(name, torch.tensor(getattr(kernel, name), dtype=torch.float64))

    def forward(self, deviation: Tensor) -> Tensor:
        """Return the sums ``(N,)`` for deviations ``(N, d)``, relative to mean features."""
        components = deviation @ self.axes
        norms = components.square().sum(dim=1, keepdim=True) + self.centres.square().sum(dim=1)
        distances = (norms - 2 * components @ self.centres.transpose(0, 1)).relu()
        sums: Tensor = (-self.gamma * distances).exp() @ self.coefficients
        return sums - self.at_mean


class HeadModule(nn.Module):
    """The regression head as a torch module; see `RegressionHead`.

    Attributes:
        origin: output for the mean photograph, on the fitted scale.
        curve: calibration from the fitted scale to points.
        slope: ``(D,)`` weight of each feature.
        mean: ``(D,)`` features of the mean photograph.
        reach: ``(D,)`` maximum deviation from the mean; larger deviations are clipped.
    """

    slope: Tensor
    mean: Tensor
    reach: Tensor

    def __init__(self, head: RegressionHead) -> None:
        """Copy the parameters of a head."""
        super().__init__()
        self.origin = head.origin
        self.curve = CalibrationModule(
            torch.from_numpy(head.curve_at), torch.from_numpy(head.curve_to)
        )
        for name in ("slope", "mean", "reach"):
            self.register_buffer(name, torch.tensor(getattr(head, name), dtype=torch.float64))
        self.columns: dict[str, slice] = {name: head.columns(name) for name in head.kernels}
        self.kernels = nn.ModuleDict(
            {name: KernelModule(kernel) for name, kernel in head.kernels.items()}
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device, but stay float64 under ``module.half()`` and similar calls."""

        def moved(numbers: Tensor) -> Tensor:
            result = fn(numbers)
            return result if result.dtype == numbers.dtype else numbers.to(result.device)

        applied: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return applied

    def forward(self, rows: Tensor) -> Tensor:
        """Return points ``(N,)`` float64 of features ``(N, D)``, content features first."""
        deviation = (rows.double() - self.mean).clamp(-self.reach, self.reach)
        output = (deviation * self.slope).sum(dim=1) + self.origin
        for name, kernel in self.kernels.items():
            output = output + kernel(deviation[:, self.columns[name]])
        points: Tensor = self.curve(output)
        return points


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
        head: HeadModule,
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
        rows = [self.encoders[name](view) for name in EXPERTS for view in views]
        points: Tensor = self.head(torch.cat(rows, dim=1))
        return points


def resize_batch(batch: Tensor, policy: ResizePolicy) -> Tensor:
    """Resize a batch for the experts; differentiable.

    It uses torch's antialiased bicubic filter, which equals Pillow's up to rounding.
    """
    height, width = batch.shape[-2:]
    target_size = policy.target_size(height, width)[:2]
    if target_size == (height, width):
        return batch
    scaled = torch.nn.functional.interpolate(
        batch, size=target_size, mode="bicubic", antialias=True
    )
    return scaled.clamp(0, 1)


class TorchExperts:
    """Both experts as torch networks on a GPU; see `reiqa.scoring.experts.Experts`."""

    def __init__(self, bundle: Bundle, device: str) -> None:
        """Load the networks of a bundle.

        Raises:
            BadInputError: a part does not match the manifest, or the device does not exist.
        """
        recipe = bundle.manifest.recipe
        self._device = _checked_device(device)
        with devices.default_torch_state():
            self._encoders = {
                name: FrozenEncoder(
                    expert, recipe.scales, self._device, recipe.precision, recipe.pooling
                )
                for name, expert in read_experts(bundle).items()
            }

    def features(self, expert: ExpertName, views: Sequence[FloatImages]) -> Features:
        """See `Experts.features`."""
        batches = [torch.from_numpy(view).to(self._device) for view in views]
        with devices.ieee_float32(self._device):
            return self._encoders[expert].encode(batches)


def build_module(bundle: Bundle, head: RegressionHead, policy: ResizePolicy) -> ScorerModule:
    """Build the differentiable module of a bundle."""
    recipe = bundle.manifest.recipe
    with devices.default_torch_state():
        experts = {
            name: encoders.with_pooling(expert, recipe.pooling)
            for name, expert in read_experts(bundle).items()
        }
        return ScorerModule(experts, recipe.scales, HeadModule(head), policy)


def _checked_device(device: str) -> torch.device:
    """Return a GPU that is available to this process.

    Raises:
        BadInputError: the device does not exist.
    """
    chosen = torch.device(device)
    if (chosen.index or 0) >= torch.cuda.device_count():
        raise BadInputError(
            f"device {device!r}: {torch.cuda.device_count()} GPU(s) visible here; use cpu"
        )
    return chosen
