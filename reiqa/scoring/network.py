"""The scorer as one network: from pixels to points, each step differentiable."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reiqa import encoders, images
from reiqa.encoders import Encoder
from reiqa.errors import BadInputError
from reiqa.features.plan import Viewing
from reiqa.params import EXPERTS, ExpertName
from reiqa.scoring.bundle import REGRESSOR, Bundle
from reiqa.scoring.inputs import sized


class Head(nn.Module):
    """The regressor, in points: the mean photograph's, and what each feature adds to them.

    Its arithmetic is float64: a sum of thousands of terms then does not depend on their order.

    Attributes:
        intercept: points of the mean photograph.
        widths: features of each expert, all scales.
        slope: ``(D,)`` points a unit of each feature.
        mean: ``(D,)`` features of the mean photograph.
    """

    slope: Tensor
    mean: Tensor

    def __init__(
        self, intercept: float, slope: Tensor, mean: Tensor, widths: Mapping[ExpertName, int]
    ) -> None:
        """Take the regressor's numbers, content's features first."""
        super().__init__()
        self.intercept = intercept
        self.widths = dict(widths)
        self.register_buffer("slope", slope.double())
        self.register_buffer("mean", mean.double())

    def forward(self, rows: Tensor) -> Tensor:
        """Return what each expert adds to the mean photograph's points.

        Args:
            rows: ``(N, D)`` features.

        Returns:
            ``(N, 2)`` float64: content, quality.
        """
        parts = rows.split(list(self.widths.values()), dim=1)
        pairs = zip(self.widths, parts, strict=True)
        return torch.stack([self.share(name, part) for name, part in pairs], dim=1)

    def share(self, expert: ExpertName, rows: Tensor) -> Tensor:
        """Return what one expert adds, ``(N,)`` float64, from its features alone."""
        start = 0 if expert == EXPERTS[0] else self.widths[EXPERTS[0]]
        own = slice(start, start + self.widths[expert])
        return ((rows.double() - self.mean[own]) * self.slope[own]).sum(dim=1)


def read_head(bundle: Bundle) -> Head:
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
        slope, mean = tensors["slope"], tensors["mean"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{path}: not a regressor ({error})") from None
    if slope.shape != (sum(widths.values()),) or mean.shape != slope.shape:
        raise BadInputError(f"{path}: {tuple(slope.shape)} numbers for features of {widths}")
    return Head(manifest.intercept, slope, mean, widths)


def read_experts(bundle: Bundle) -> dict[ExpertName, Encoder]:
    """Read a bundle's encoders.

    Raises:
        BadInputError: a file is no encoder, or not the one the manifest tells of.
    """
    read = {expert: encoders.load(_file(bundle, expert)) for expert in EXPERTS}
    for expert, encoder in read.items():
        told = bundle.manifest.experts[expert]
        if (encoder.expert, encoder.backbone, encoder.width) != (
            expert,
            told.backbone,
            told.width,
        ):
            raise BadInputError(
                f"{_file(bundle, expert)}: a {encoder.expert} expert, {encoder.backbone}, width"
                f" {encoder.width}; the bundle tells of {told.backbone}, width {told.width}"
            )
    return read


class Network(nn.Module):
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
        experts: Mapping[ExpertName, Encoder],
        scales: tuple[float, ...],
        head: Head,
        viewing: Viewing,
    ) -> None:
        """Take the parts of a bundle."""
        super().__init__()
        self.encoders = nn.ModuleDict({name: experts[name] for name in EXPERTS})
        self.scales = scales
        self.head = head
        self.viewing = viewing
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Network":
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
        """
        batch = sized(batch, self.viewing)
        seen = views(batch, self.scales)
        rows = [self.encoders[name](view) for name in EXPERTS for view in seen]
        shares = self.head(torch.cat(rows, dim=1))
        points: Tensor = self.head.intercept + shares.sum(dim=1)
        return points.to(batch.dtype)


def views(batch: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return a batch ``(N, 3, H, W)`` at each scale."""
    return [batch if scale == 1 else images.half(batch) for scale in scales]


def _file(bundle: Bundle, expert: ExpertName) -> Path:
    return bundle.part(f"{expert}.safetensors")
