"""A frozen encoder made ready to encode batch after batch, as fast as its values allow."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from reiqa import images
from reiqa.encoders import Encoder

if TYPE_CHECKING:
    from reiqa.features.cache import Rows
    from reiqa.features.plan import Pixels


class Encoding:
    """A frozen encoder on its processor, ready for batches of decoded images."""

    def __init__(
        self,
        encoder: Encoder,
        scales: Sequence[float],
        processor: torch.device,
        precision: str = "float32",
    ) -> None:
        """Take a copy of the encoder to ``processor``.

        Args:
            encoder: its batch normalisations are folded into the convolutions before them, where
                its graph can be traced: the same function, with fewer passes over memory.
            scales: 1 or 0.5 each.
            processor: where to compute.
            precision: ``bf16`` autocasts.
        """
        frozen = copy.deepcopy(encoder).eval()
        frozen.body = _folded(frozen.body)
        self._encoder = frozen.to(processor).to(memory_format=torch.channels_last)
        self._scales = scales
        self._processor = processor
        self._bf16 = precision == "bf16"
        self.width = len(scales) * encoder.width

    def __call__(self, pixels: "Sequence[Pixels]") -> "Rows":
        """Return ``(N, scales * width)`` float32 of N images of one shape, ``(H, W, 3)`` uint8."""
        stacked = torch.from_numpy(np.stack(pixels)).to(self._processor)
        values: Rows = self.encode(stacked.permute(0, 3, 1, 2).float().div_(255)).cpu().numpy()
        return values

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Return ``(N, scales * width)`` float32 of ``(N, 3, H, W)`` float in [0, 1]."""
        parts = []
        for scale in self._scales:
            view = batch if scale == 1 else images.half(batch)
            with torch.autocast(self._processor.type, torch.bfloat16, enabled=self._bf16):
                parts.append(self._encoder(view).float())
        return torch.cat(parts, dim=1)


def _folded(body: nn.Module) -> nn.Module:
    try:
        return fuse(body)
    except (torch.fx.proxy.TraceError, TypeError, RuntimeError):
        # Its forward branches on values; it runs as it is.
        return body
