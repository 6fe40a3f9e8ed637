"""A frozen encoder made ready to encode batch after batch, as fast as its values allow."""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, fx, nn

from reiqa import images
from reiqa.encoders import Encoder, pooled
from reiqa.params import Pooling

if TYPE_CHECKING:
    from reiqa.features.cache import Rows
    from reiqa.features.plan import Pixels

#: On a CPU no more pixels go through an encoder at once, unless they are of one image: what its
#: layers hand on then stays in the processor's cache, and more images at once are slower.
_CPU_PIXELS = 150_000


def stacked(pixels: "Sequence[Pixels]", processor: torch.device) -> Tensor:
    """Return N images of one shape, ``(H, W, 3)`` uint8, as ``(N, 3, H, W)`` float in [0, 1]."""
    batch = torch.from_numpy(np.stack(pixels)).to(processor)
    return batch.permute(0, 3, 1, 2).float().div_(255)


def views(batch: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return images ``(N, 3, H, W)`` as encoders see them: at each scale, which is 1 or 0.5."""
    return [batch if scale == 1 else images.half(batch) for scale in scales]


class Encoding:
    """A frozen encoder on its processor, ready for views of decoded images.

    The one place where images become rows of features.
    """

    def __init__(
        self,
        encoder: Encoder,
        scales: Sequence[float],
        processor: torch.device,
        precision: str = "float32",
        pooling: Pooling = "last",
    ) -> None:
        """Take a copy of the encoder to ``processor``.

        Args:
            encoder: its batch normalisations are folded into the convolutions before them, where
                its graph can be traced: the same function, with fewer passes over memory.
            scales: 1 or 0.5 each.
            processor: where to compute.
            precision: ``bf16`` autocasts.
            pooling: what of the encoder becomes features.

        Raises:
            BadInputError: the stages to be pooled cannot be told apart.
        """
        frozen = copy.deepcopy(encoder).eval()
        frozen.body = folded(frozen.body)
        ready = pooled(frozen, pooling)
        self._encoder = ready.to(processor).to(memory_format=torch.channels_last)
        self._processor = processor
        self._bf16 = precision == "bf16"
        self.width = len(scales) * ready.width

    @torch.inference_mode()
    def rows(self, seen: Sequence[Tensor]) -> "Rows":
        """Return ``(N, width)`` float32 of the `views` of N images at the encoder's scales."""
        columns = []
        for view in seen:
            with torch.autocast(self._processor.type, torch.bfloat16, enabled=self._bf16):
                parts = [self._encoder(part).float() for part in self._portions(view)]
            columns.append(torch.cat(parts))
        values: Rows = torch.cat(columns, dim=1).cpu().numpy()
        return values

    def _portions(self, view: Tensor) -> tuple[Tensor, ...]:
        length = len(view)
        if self._processor.type == "cpu":
            length = max(1, _CPU_PIXELS // view[0, 0].numel())
        parts: tuple[Tensor, ...] = view.split(length)
        return parts


@torch.no_grad()
def folded(body: nn.Module) -> nn.Module:
    """Return a copy of a network, for evaluation, with its batch normalisations folded away.

    Each that takes the output of one convolution becomes part of that: the same function up to
    rounding, with a pass over memory less. A network that cannot be traced comes back as it is.
    """
    body = copy.deepcopy(body).eval()
    try:
        nodes = list(_Tracer().trace(body).nodes)
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        # Its forward branches on values, as transformers' do: they have no such pairs.
        return body
    layers = dict(body.named_modules())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for node in nodes:
        norm = layers.get(str(node.target))
        before = node.args[0] if node.args else None
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(before, fx.Node):
            continue
        convolution = layers.get(str(before.target))
        alone = len(before.users) == calls[node.target] == calls[before.target] == 1
        if isinstance(convolution, nn.Conv2d) and alone:
            _fold(norm, convolution)
            body.set_submodule(str(node.target), _rest(norm))
    return body


class _Tracer(fx.Tracer):
    """Sees a network as layers: what pads by the size of its input cannot be looked into."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(
            module, qualified_name
        )


def _fold(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> None:
    """Make a convolution do what the normalisation after it does, in float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale *= norm.weight.double()
    shift = -norm.running_mean.double()
    if convolution.bias is not None:
        shift += convolution.bias.double()
    shift *= scale
    if norm.affine:
        shift += norm.bias.double()
    weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
    convolution.weight = nn.Parameter(weight.float())
    convolution.bias = nn.Parameter(shift.float())


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """What else a normalisation layer does: timm's hold the activation, torch's own nothing."""
    return nn.Sequential(*norm.children())
