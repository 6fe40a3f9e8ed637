"""A bundle as one ONNX file, for programs without Python: pixels in, points out."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.scoring.module import ScorerModule
from reiqa.scoring.scorer import Scorer

#: The shorter side of an image has at least so many pixels, or the deepest stages see borders only.
LEAST_SIDE = 32

_OPSET = 18

# Of Keys' cubic, as Pillow and torch have it where they antialias.
_A = -0.5


class OnnxModule(nn.Module):
    """A network whose half scale is made of matrix products, which every runtime has.

    ONNX's own antialiased Resize takes its border and its rounding from the runtime; a product
    with the filter's matrix is the same everywhere, for odd lengths too.
    """

    def __init__(self, network: ScorerModule) -> None:
        """Wrap a bundle's network."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return points ``(N,)`` of ``(N, 3, H, W)`` in [0, 1]; no image is scaled down first."""
        seen = [images if scale == 1 else half(images) for scale in self.network.scales]
        return self.network.points(seen).float()


def half(images: Tensor) -> Tensor:
    """Return what `reiqa.tensors.half` does, made of products only."""
    down = _halving(images.shape[-2])
    across = _halving(images.shape[-1])
    return torch.matmul(torch.matmul(down, images), across.transpose(0, 1)).clamp(0, 1)


def _halving(length: int) -> Tensor:
    """Return the filter that halves a line, ``(length // 2, length)``; its rows sum to one."""
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
    """Write a scorer as ONNX: ``images`` ``(N, 3, H, W)`` float32 in, ``points`` ``(N,)`` out.

    N, height and width are free, from `LEAST_SIDE` pixels on. The recipe's ``resize`` and
    ``max_pixels`` are left to the caller.

    Raises:
        BadInputError: the package ``onnx`` is missing.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BadInputError(
            "onnx: this package is missing; install it with: pip install 'reiqa[onnx]'"
        ) from None
    example = torch.rand(2, 3, 96, 128)
    axes = {0: "n", 2: "height", 3: "width"}
    with store.atomic(path) as temporary, warnings.catch_warnings():
        # The tracing exporter is the one that keeps timm's padding open to any size; torch says
        # that there is a newer one, and the trace that sizes are taken for numbers: tests see that
        # they are not.
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
