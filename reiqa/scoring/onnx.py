"""Export a bundle to an ONNX file, from pixels to points."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.scoring.module import ScorerModule
from reiqa.scoring.scorer import Scorer

#: Minimum length of the shorter side; on smaller images the last stages only see padding.
LEAST_SIDE = 32

_OPSET = 18

# Parameter of Keys' cubic filter, as in the antialiased resize of Pillow and torch.
_A = -0.5


class OnnxModule(nn.Module):
    """A scorer module whose half scale is computed by matrix products.

    Borders and rounding of ONNX's antialiased Resize depend on the runtime. Matrix products with
    the filter give the same result everywhere, also for odd lengths.
    """

    def __init__(self, network: ScorerModule) -> None:
        """Wrap a scorer module."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return points ``(N,)`` of ``(N, 3, H, W)`` in [0, 1], without resizing."""
        views = [images if scale == 1 else half(images) for scale in self.network.scales]
        return self.network.points(views).float()


def half(images: Tensor) -> Tensor:
    """Halve images like `reiqa.tensors.half`, with matrix products only."""
    down = _halving(images.shape[-2])
    across = _halving(images.shape[-1])
    return torch.matmul(torch.matmul(down, images), across.transpose(0, 1)).clamp(0, 1)


def _halving(length: int) -> Tensor:
    """Return the filter matrix that halves a line, ``(length // 2, length)``; rows sum to one."""
    count = length // 2
    scale = length / count
    centres = scale * (torch.arange(count, dtype=torch.float32) + 0.5)
    places = torch.arange(length, dtype=torch.float32) + 0.5
    x = ((places - centres[:, None]) / scale).abs()
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    return weights / weights.sum(dim=1, keepdim=True)


def export_onnx(scorer: Scorer, path: Path) -> None:
    """Export a scorer: input ``images`` ``(N, 3, H, W)`` float32, output ``points`` ``(N,)``.

    N, height and width are dynamic; the sides must be at least `LEAST_SIDE`. The caller has to
    apply ``resize`` and ``max_pixels`` of the recipe.

    Raises:
        BadInputError: the package ``onnx`` is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BadInputError("onnx: package not installed; run: pip install 'reiqa[onnx]'") from None
    example = torch.rand(2, 3, 96, 128)
    axes = {0: "n", 2: "height", 3: "width"}
    with store.atomic(path) as temporary, warnings.catch_warnings():
        # Only the tracing exporter keeps timm's padding dynamic. torch warns that it is deprecated,
        # and that sizes become constants; tests verify that they do not.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            OnnxModule(scorer.as_module()),
            (example,),
            temporary,
            input_names=["images"],
            output_names=["points"],
            dynamic_axes={"images": axes, "points": {0: "n"}},
            opset_version=_OPSET,
            dynamo=False,
        )
