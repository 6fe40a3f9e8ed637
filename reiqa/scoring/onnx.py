"""Export to ONNX: the graph of one expert for a bundle, and a whole scorer in one file."""

import copy
import json
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reiqa import encoders, store
from reiqa.devices import default_torch_state
from reiqa.errors import BadInputError
from reiqa.features.optimize import SamePadConv2d, replace_same_padding
from reiqa.params import Pooling
from reiqa.scoring.experts import INPUT, OUTPUT, open_session
from reiqa.scoring.module import ScorerModule
from reiqa.scoring.scorer import Scorer

_OPSET = 18

# Parameter of Keys' cubic filter, as in the antialiased resize of Pillow and torch.
_A = -0.5

#: Sizes at which the graph of an expert is compared with torch, and the largest difference allowed
#: relative to the largest feature. Odd sizes show padding that became constant.
_TRIAL_SIZES = ((96, 128), (101, 77), (33, 160))
_TOLERANCE = 1e-4


def write_expert_graph(weights: Path, pooling: Pooling, path: Path) -> None:
    """Write the graph of an expert, which reads its weights from a safetensors file beside it.

    The network is exported as it was trained, with separate batch normalisation, so that every
    weight of the graph is a tensor of the file; onnxruntime folds it when it loads the graph.

    Args:
        weights: encoder file in the folder of ``path``.
        pooling: layers to pool.
        path: graph to write; input ``images`` ``(N, 3, H, W)`` float32 in [0, 1] of any size,
            output ``features`` ``(N, width)``.

    Raises:
        BadInputError: the package ``onnx`` is missing, or the graph does not equal the network.
    """
    onnx = _onnx()
    with default_torch_state():
        network = encoders.with_pooling(encoders.load_encoder(weights), pooling)
        network = network.eval().requires_grad_(False)
        exported = copy.deepcopy(network)
        replace_same_padding(exported, _SamePadOperator)
        with store.atomic(path) as temporary:
            _export(
                exported,
                temporary,
                (INPUT, OUTPUT),
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
            )
            model = onnx.load(temporary)
            _refer_to_file(model, weights)
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = network.width
            temporary.write_bytes(model.SerializeToString(deterministic=True))
            _check(network, temporary, weights)


def export_onnx(scorer: Scorer, path: Path) -> None:
    """Export a scorer: input ``images`` ``(N, 3, H, W)`` float32, output ``points`` ``(N,)``.

    N, height and width are dynamic; the sides must be at least `layout.LEAST_SIDE`. The caller has
    to apply ``resize`` and ``max_pixels`` of the recipe.

    Raises:
        BadInputError: the package ``onnx`` is not installed.
    """
    _onnx()
    with store.atomic(path) as temporary:
        _export(OnnxModule(scorer.as_module()), temporary, (INPUT, "points"))


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


class _SameConv(torch.autograd.Function):
    """A convolution with SAME padding as one operator, which onnxruntime runs without copies."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, layer: nn.Conv2d) -> Tensor:
        result: Tensor = SamePadConv2d.forward(layer, images)  # type: ignore[arg-type]
        return result

    @staticmethod
    def symbolic(g: Any, images: Any, weight: Any, bias: Any, layer: nn.Conv2d) -> Any:
        """Return the operator in the graph ``g``."""
        return g.op(
            "Conv",
            *(images, weight, *(() if layer.bias is None else (bias,))),
            auto_pad_s="SAME_UPPER",
            kernel_shape_i=layer.kernel_size,
            strides_i=layer.stride,
            dilations_i=layer.dilation,
            group_i=layer.groups,
        )


class _SamePadOperator(SamePadConv2d):
    """Exports a `SamePadConv2d` as one operator."""

    def forward(self, input: Tensor) -> Tensor:
        result: Tensor = _SameConv.apply(input, self.weight, self.bias, self)
        return result


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise BadInputError(
            "onnx: package not installed; run: pip install 'reiqa[pipeline]'"
        ) from None
    return onnx


def _export(network: nn.Module, path: Path, names: tuple[str, str], **settings: Any) -> None:
    given, found = names
    with warnings.catch_warnings():
        # Only the tracing exporter keeps timm's padding dynamic. torch warns that it is deprecated,
        # and that sizes become constants; `_check` and tests verify that they do not.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, 3, 96, 128),),
            path,
            input_names=[given],
            output_names=[found],
            dynamic_axes={given: {0: "n", 2: "height", 3: "width"}, found: {0: "n"}},
            opset_version=_OPSET,
            dynamo=False,
            **settings,
        )


def _refer_to_file(model: Any, weights: Path) -> None:
    """Replace the weights in a graph by references into a safetensors file."""
    places = _tensor_places(weights)
    for tensor in model.graph.initializer:
        # The file has the keys of `Encoder.body`.
        name = tensor.name.partition("body.")[2]
        if name not in places:
            continue
        offset, length = places[name]
        if len(tensor.raw_data) != length:
            raise BadInputError(f"{weights}: {name} differs in size from the exported weight")
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        for key, value in (("location", weights.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))


def _tensor_places(path: Path) -> Mapping[str, tuple[int, int]]:
    """Return offset and length in bytes of each tensor in a safetensors file."""
    with path.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    start = 8 + size
    return {
        name: (
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


@torch.inference_mode()
def _check(network: nn.Module, path: Path, weights: Path) -> None:
    """Compare the graph with the network.

    Raises:
        BadInputError: they differ.
    """
    session = open_session(path)
    generator = torch.Generator().manual_seed(0)
    for height, width in _TRIAL_SIZES:
        images = torch.rand(1, 3, height, width, generator=generator)
        expected = network(images).numpy()
        (found,) = session.run([OUTPUT], {INPUT: images.numpy()})
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not difference <= _TOLERANCE:
            raise BadInputError(
                f"{weights}: cannot be exported to ONNX: at {width}x{height} the features differ"
                f" by {difference:.1e} of the largest"
            )
