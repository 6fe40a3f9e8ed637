"""A frozen encoder made ready to encode batch after batch, as fast as its values allow."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reiqa import tensors
from reiqa.encoders import Encoder, with_pooling
from reiqa.features.optimize import optimize_for_inference
from reiqa.params import Pooling

if TYPE_CHECKING:
    from reiqa.features.batching import Pixels
    from reiqa.features.cache import Rows

#: On a CPU no more pixels go through an encoder at once, unless they are of one image: what its
#: layers hand on then stays in the processor's cache, and more images at once are slower.
_CPU_PIXELS = 150_000


def to_batch(pixels: "Sequence[Pixels]", processor: torch.device) -> Tensor:
    """Return N images of one shape, ``(H, W, 3)`` uint8, as ``(N, 3, H, W)`` float in [0, 1]."""
    batch = torch.from_numpy(np.stack(pixels)).to(processor)
    return batch.permute(0, 3, 1, 2).float().div_(255)


def scaled_views(batch: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return images ``(N, 3, H, W)`` as encoders see them: at each scale, which is 1 or 0.5."""
    return [batch if scale == 1 else tensors.half(batch) for scale in scales]


class FrozenEncoder:
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
            encoder: its body is `folded`.
            scales: 1 or 0.5 each.
            processor: where to compute.
            precision: ``bf16`` autocasts.
            pooling: what of the encoder becomes features.

        Raises:
            BadInputError: the stages to be pooled cannot be told apart.
        """
        frozen = copy.deepcopy(encoder).eval()
        frozen.body = optimize_for_inference(frozen.body)
        ready = with_pooling(frozen, pooling)
        self._encoder = ready.to(processor).to(memory_format=torch.channels_last)
        self._processor = processor
        self._bf16 = precision == "bf16"
        self.width = len(scales) * ready.width

    @torch.inference_mode()
    def encode(self, seen: Sequence[Tensor]) -> "Rows":
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
