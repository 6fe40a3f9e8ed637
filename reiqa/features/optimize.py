"""Optimise a frozen network for inference: fold batch normalisation and avoid padding copies."""

import copy
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


@torch.no_grad()
def optimize_for_inference(body: nn.Module) -> nn.Module:
    """Return an equivalent network in evaluation mode with less memory traffic.

    Batch normalisation is folded into the preceding convolution if the network can be traced.
    Convolutions that pad their input by copying are replaced by ones that pad implicitly. Results
    differ by rounding.
    """
    body = copy.deepcopy(body).eval()
    _fold_all(body)
    replace_same_padding(body, SamePadConv2d)
    return body


def replace_same_padding(body: nn.Module, kind: "type[SamePadConv2d]") -> None:
    """Replace convolutions that pad by copying by ones that share their weights."""
    for name, layer in list(body.named_modules()):
        if isinstance(layer, nn.Conv2d) and _pads_by_copying(layer):
            body.set_submodule(name, kind(layer))


def _fold_all(body: nn.Module) -> None:
    try:
        nodes = list(_Tracer().trace(body).nodes)
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        # Networks with data-dependent control flow, such as transformers, have nothing to fold.
        return
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
            body.set_submodule(str(node.target), _activation(norm))


class _Tracer(fx.Tracer):
    """Traces layers as leaves, because layers with input-dependent padding cannot be traced."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(
            module, qualified_name
        )


def _fold(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> None:
    """Fold a batch normalisation into the convolution before it, computing in float64."""
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


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    """Return the activation that timm's normalisation layers contain; torch's contain none."""
    return nn.Sequential(*norm.children())


def _pads_by_copying(convolution: nn.Conv2d) -> bool:
    """Return whether this is timm's convolution with TensorFlow's input-dependent padding."""
    kind = type(convolution)
    return kind.__module__.startswith("timm.") and kind.__name__ == "Conv2dSame"


class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding.

    SAME padding may need one more pixel at the end than at the start, while torch pads both sides
    equally. This layer pads more at the start, by a multiple of the stride, and drops the extra
    outputs.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        """Share the weights of a convolution."""
        super().__init__(
            like.in_channels,
            like.out_channels,
            like.kernel_size,  # type: ignore[arg-type]  # torch annotates it as of any length
            like.stride,  # type: ignore[arg-type]
            groups=like.groups,
            dilation=like.dilation,  # type: ignore[arg-type]
            # Skips the initialisation of weights, which are replaced below.
            device="meta",
        )
        self.weight, self.bias = like.weight, like.bias

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, C, ceil(H / stride), ceil(W / stride))`` of ``(N, D, H, W)``."""
        paddings, ranges = [], []
        sides = zip(input.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for side, kernel, stride, dilation in sides:
            count = -(-side // stride)
            needed = max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - side)
            before, after = needed // 2, needed - needed // 2
            first = -(-(after - before) // stride)
            paddings.append(before + first * stride)
            ranges.append(slice(first, first + count))
        output = F.conv2d(
            input, self.weight, self.bias, self.stride, paddings, self.dilation, self.groups
        )
        return output[:, :, ranges[0], ranges[1]]
