"""A frozen network as the same function with fewer passes over memory."""

import copy
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


@torch.no_grad()
def optimize_for_inference(body: nn.Module) -> nn.Module:
    """Return a copy of a network, for evaluation: the same function with fewer passes over memory.

    A batch normalisation that takes the output of one convolution becomes part of that, where the
    network can be traced. Convolutions that copy their input into a larger, padded one leave the
    padding to the convolution itself. Results differ by rounding.
    """
    body = copy.deepcopy(body).eval()
    _fold_all(body)
    for name, layer in list(body.named_modules()):
        if isinstance(layer, nn.Conv2d) and _pads_by_copying(layer):
            body.set_submodule(name, SamePadConv2d(layer))
    return body


def _fold_all(body: nn.Module) -> None:
    try:
        nodes = list(_Tracer().trace(body).nodes)
    except (fx.proxy.TraceError, TypeError, RuntimeError):
        # Its forward branches on values, as transformers' do: they have no such pairs.
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
            body.set_submodule(str(node.target), _rest(norm))


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


def _pads_by_copying(convolution: nn.Conv2d) -> bool:
    """Tell timm's convolution, which pads as TensorFlow does, by the size of its input."""
    kind = type(convolution)
    return kind.__module__.startswith("timm.") and kind.__name__ == "Conv2dSame"


class SamePadConv2d(nn.Conv2d):
    """A convolution under TensorFlow's rule: as many results as strides fit, padded by need.

    An even side needs one more pixel after its end than before its start, and torch pads alike
    on both. So a multiple of the stride more is padded, and the results that only this made, the
    first ones, are left out.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        """Take the weights of a convolution."""
        super().__init__(
            like.in_channels,
            like.out_channels,
            like.kernel_size,  # type: ignore[arg-type]  # torch annotates it as of any length
            like.stride,  # type: ignore[arg-type]
            groups=like.groups,
            dilation=like.dilation,  # type: ignore[arg-type]
            # No weights of its own, which would be drawn at random.
            device="meta",
        )
        self.weight, self.bias = like.weight, like.bias

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, C, ceil(H / stride), ceil(W / stride))`` of ``(N, D, H, W)``."""
        paddings, kept = [], []
        sides = zip(input.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for side, kernel, stride, dilation in sides:
            count = -(-side // stride)
            needed = max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - side)
            before, after = needed // 2, needed - needed // 2
            first = -(-(after - before) // stride)
            paddings.append(before + first * stride)
            kept.append(slice(first, first + count))
        whole = F.conv2d(
            input, self.weight, self.bias, self.stride, paddings, self.dilation, self.groups
        )
        return whole[:, :, kept[0], kept[1]]
