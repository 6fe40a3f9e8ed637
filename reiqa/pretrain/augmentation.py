"""MoCo-v2's augmentation, its draws apart from its pixels: image by image, or a batch at once.

Draws come from torch's CPU generator on every device, in the order of torchvision's transforms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from reiqa.tensors import to_float, upload

# Minimum area fraction of a view, and range of its aspect ratio.
MIN_AREA = 0.2
RATIOS = (3 / 4, 4 / 3)

_JITTER = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
_JITTERED, _GREY, _BLURRED = 0.8, 0.2, 0.5
_SIGMA = (0.1, 2.0)

# Views resized in one product of matrices; bounds its memory.
_RESIZED_AT_ONCE = 32


class ViewDraw(NamedTuple):
    """Random parameters of one view.

    Attributes:
        box: top, left, height and width of the crop.
        order: order of brightness, contrast, saturation and hue (0 to 3); empty without jitter.
        factors: of brightness, contrast, saturation and hue.
        grey: whether to remove colour.
        sigma: of the blur in pixels; 0 without.
        flip: whether to mirror.
    """

    box: tuple[int, int, int, int]
    order: tuple[int, ...]
    factors: tuple[float, ...]
    grey: bool
    sigma: float
    flip: bool


def draw_view(pixels: Tensor, side: int) -> ViewDraw:
    """Draw a view of ``side`` pixels of a photograph ``(3, H, W)`` from torch's CPU generator."""
    crop = v2.RandomResizedCrop(side, scale=(MIN_AREA, 1.0), ratio=RATIOS)
    box = crop.make_params([pixels])
    order, factors = (), (1.0, 1.0, 1.0, 0.0)
    if torch.rand(1).item() < _JITTERED:
        drawn = _JITTER.make_params([])
        order = tuple(drawn["fn_idx"].tolist())
        names = ("brightness", "contrast", "saturation", "hue")
        factors = tuple(drawn[f"{name}_factor"] for name in names)
    grey = torch.rand(1).item() < _GREY
    blurred = torch.rand(1).item() < _BLURRED
    sigma = torch.empty(1).uniform_(*_SIGMA).item() if blurred else 0.0
    flip = torch.rand(1).item() < 0.5
    corner = (box["top"], box["left"], box["height"], box["width"])
    return ViewDraw(corner, order, factors, grey, sigma, flip)


def make_view(pixels: Tensor, drawn: ViewDraw, side: int) -> Tensor:
    """Return one view ``(3, side, side)`` in [0, 1] of a photograph ``(3, H, W)`` uint8."""
    to = v2.functional
    adjust = (to.adjust_brightness, to.adjust_contrast, to.adjust_saturation, to.adjust_hue)
    view = to.resized_crop(pixels, *drawn.box, size=[side, side], antialias=True)
    view = to.to_dtype(view, torch.float32, scale=True)
    for step in drawn.order:
        view = adjust[step](view, drawn.factors[step])
    if drawn.grey:
        view = to.rgb_to_grayscale(view, 3)
    if drawn.sigma:
        view = to.gaussian_blur(view, [_kernel_size(side)] * 2, [drawn.sigma] * 2)
    made: Tensor = to.horizontal_flip(view) if drawn.flip else view
    return made


def make_views(
    photographs: Sequence[Tensor],
    draws: Sequence[Sequence[ViewDraw]],
    side: int,
    device: torch.device,
) -> Tensor:
    """Return the views of photographs in few large calls, on a GPU.

    They equal those of `make_view` up to rounding: to a grey level after resizing, which has no
    rounding between its two passes here, and to float32 after that.

    Args:
        photographs: N of ``(3, H, W)`` uint8 on the host, pinned so that nothing waits for copies.
        draws: of each photograph, its V views.
        side: of a view in pixels.
        device: of the views.

    Returns:
        ``(N, V, 3, side, side)`` float32 in [0, 1].
    """
    flat = [drawn for own in draws for drawn in own]
    height, width = (max(photo.shape[axis] for photo in photographs) for axis in (-2, -1))
    canvas = torch.zeros((len(photographs), 3, height, width), dtype=torch.uint8, device=device)
    for place, photo in zip(canvas, photographs, strict=True):
        place[:, : photo.shape[-2], : photo.shape[-1]] = upload(photo, device)
    views = to_float(_resized_crops(canvas, flat, side))
    factors = upload([drawn.factors for drawn in flat], device, torch.float32)[
        ..., None, None, None
    ]
    adjust = (_brightness, _contrast, _saturation, _hue)
    for turn in range(len(adjust)):
        for step, function in enumerate(adjust):
            chosen = [
                at for at, drawn in enumerate(flat) if drawn.order and drawn.order[turn] == step
            ]
            if chosen:
                at = upload(chosen, device)
                changed = function(views.index_select(0, at), factors[at, step])
                views.index_copy_(0, at, changed)
    if grey := [at for at, drawn in enumerate(flat) if drawn.grey]:
        at = upload(grey, device)
        views.index_copy_(0, at, _luma(views.index_select(0, at)).expand(-1, 3, -1, -1))
    if blurred := [at for at, drawn in enumerate(flat) if drawn.sigma]:
        at = upload(blurred, device)
        sigmas = upload([flat[place].sigma for place in blurred], device, torch.float32)
        views.index_copy_(0, at, _blur(views.index_select(0, at), sigmas, _kernel_size(side)))
    flips = upload([drawn.flip for drawn in flat], device)[:, None, None, None]
    turned = torch.where(flips, views.flip(-1), views)
    return turned.view(len(photographs), -1, *views.shape[1:])


def _resized_crops(canvas: Tensor, draws: Sequence[ViewDraw], side: int) -> Tensor:
    """Cut and resize each view by two products with matrices: ``(M, 3, side, side)`` uint8."""
    each = len(draws) // len(canvas)
    boxes = upload([drawn.box for drawn in draws], canvas.device)
    views = []
    for first in range(0, len(draws), _RESIZED_AT_ONCE):
        top, left, height, width = boxes[first : first + _RESIZED_AT_ONCE].T
        most = [max(drawn.box[axis] for drawn in draws) for axis in (2, 3)]
        rows = _resize_matrix(top, height, canvas.shape[-2], side, most[0])
        columns = _resize_matrix(left, width, canvas.shape[-1], side, most[1])
        number = torch.arange(first, first + len(rows), device=canvas.device) // each
        source = canvas.index_select(0, number).float()
        across = torch.bmm(source.flatten(1, 2), columns.mT).unflatten(1, (3, -1))
        views.append(torch.matmul(rows[:, None], across).round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(views)


def _resize_matrix(start: Tensor, length: Tensor, total: int, side: int, most: int) -> Tensor:
    """Return ``(M, side, total)``: antialiased linear resizing of ``length`` pixels to ``side``."""
    scale = (length.double() / side)[:, None, None]
    support = scale.clamp(min=1)
    centre = scale * (torch.arange(side, device=start.device)[:, None] + 0.5)
    low = (centre - support + 0.5).floor().clamp(min=0)
    high = torch.minimum((centre + support + 0.5).floor(), length[:, None, None])
    steps = torch.arange(int(2 * max(1.0, most / side)) + 2, device=start.device)
    pixel = low + steps
    weights = (1 - ((pixel + 0.5 - centre) / support).abs()).clamp(min=0) * (pixel < high)
    weights = (weights / weights.sum(-1, keepdim=True)).float()
    index = (pixel.long() + start[:, None, None]).clamp(max=total - 1)
    return weights.new_zeros((len(start), side, total)).scatter_add_(2, index, weights)


def _luma(views: Tensor) -> Tensor:
    red, green, blue = views.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)[:, None]


def _blend(views: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    return torch.lerp(others, views, shares).clamp_(0, 1)


def _brightness(views: Tensor, factors: Tensor) -> Tensor:
    return views.mul(factors).clamp_(0, 1)


def _contrast(views: Tensor, factors: Tensor) -> Tensor:
    mean = _luma(views).mean((1, 2, 3), keepdim=True)
    return _blend(views, mean.expand_as(views), factors)


def _saturation(views: Tensor, factors: Tensor) -> Tensor:
    return _blend(views, _luma(views).expand_as(views), factors)


def _hue(views: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue; value and HSV saturation stay."""
    red, green, blue = views.unbind(1)
    least, greatest = views.aminmax(dim=1)
    spread = greatest - least
    safe = spread.where(spread > 0, 1)
    sector = torch.where(
        greatest == red,
        (green - blue) / safe,
        torch.where(greatest == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sector = sector[:, None] + 6 * turns
    # Of red, green, blue: 5, 3 and 1 sectors ahead.
    ahead = 5 - 2 * torch.arange(3, device=views.device)[:, None, None]
    place = torch.remainder(ahead + sector, 6)
    return greatest[:, None] - spread[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


def _blur(views: Tensor, sigmas: Tensor, size: int) -> Tensor:
    """Blur each view with its own Gaussian, edges reflected; taps as torchvision spaces them."""
    limit = (size - 1) / (2 * 2**0.5)
    places = torch.linspace(-limit, limit, size, device=views.device)
    taps = places.div(sigmas[:, None]).square().neg().softmax(1)
    kernels = (taps[:, :, None] * taps[:, None]).repeat_interleave(3, 0)[:, None]
    padded = functional.pad(views, [size // 2] * 4, mode="reflect")
    blurred = functional.conv2d(padded.flatten(0, 1)[None], kernels, groups=len(kernels))
    return blurred.view(views.shape)


def _kernel_size(side: int) -> int:
    """Return a tenth of the side, odd: 23 at 224, as in SimCLR."""
    return side // 10 | 1
