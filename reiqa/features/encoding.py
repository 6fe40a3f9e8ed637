"""A frozen encoder, optimised for inference."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from reiqa import tensors
from reiqa.encoders import Encoder, with_pooling
from reiqa.features.optimize import optimize_for_inference
from reiqa.params import Pooling, Precision

if TYPE_CHECKING:
    from reiqa.features.batching import Pixels
    from reiqa.features.cache import Rows

#: Maximum number of pixels per forward pass on a CPU, except for a single image. Larger batches are
#: slower because activations no longer fit into the processor cache.
_CPU_PIXELS = 150_000


def to_batch(pixels: "Sequence[Pixels]", processor: torch.device) -> Tensor:
    """Return N images of one shape, ``(H, W, 3)`` uint8, as ``(N, 3, H, W)`` float in [0, 1]."""
    batch = tensors.upload(np.stack(pixels), processor)
    return tensors.to_float(batch.permute(0, 3, 1, 2))


def scaled_views(batch: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return images ``(N, 3, H, W)`` at each scale, which is 1 or 0.5."""
    return [batch if scale == 1 else tensors.half(batch) for scale in scales]


class FrozenEncoder:
    """A frozen encoder on a device, which turns views of images into rows of features."""

    def __init__(
        self,
        encoder: Encoder,
        scales: Sequence[float],
        processor: torch.device,
        precision: Precision = "float32",
        pooling: Pooling = "last",
    ) -> None:
        """Copy the encoder to ``processor`` and optimise it.

        Args:
            encoder: encoder to copy; see `optimize_for_inference`.
            scales: 1 or 0.5 each.
            processor: device to compute on.
            precision: ``bf16`` enables autocast; returned features are float32.
            pooling: layers to pool.

        Raises:
            BadInputError: the stages of the backbone cannot be identified.
        """
        frozen = copy.deepcopy(encoder).eval()
        frozen.body = optimize_for_inference(frozen.body)
        ready = with_pooling(frozen, pooling)
        self._bf16 = precision == "bf16"
        if self._bf16:
            _round_weights(ready)
        self._encoder = ready.to(processor).to(memory_format=torch.channels_last)
        self._processor = processor
        self.width = len(scales) * ready.width

    @torch.inference_mode()
    def encode(self, views: Sequence[Tensor]) -> "Rows":
        """Return features ``(N, width)`` float32 of the `scaled_views` of N images."""
        columns = []
        for view in views:
            with torch.autocast(self._processor.type, torch.bfloat16, enabled=self._bf16):
                parts = [self._encoder(part).float() for part in self._split_batch(view)]
            columns.append(torch.cat(parts))
        values: Rows = torch.cat(columns, dim=1).cpu().numpy()
        return values

    def _split_batch(self, view: Tensor) -> tuple[Tensor, ...]:
        length = len(view)
        if self._processor.type == "cpu":
            length = max(1, _CPU_PIXELS // view[0, 0].numel())
        parts: tuple[Tensor, ...] = view.split(length)
        return parts


def _round_weights(encoder: nn.Module) -> None:
    """Round the weights of the layers that autocast computes in bfloat16.

    Autocast rounds them to the same values in every forward pass, because it keeps rounded weights
    only for gradients.
    """
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(torch.bfloat16)
