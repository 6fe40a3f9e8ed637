"""Random fields as functions of the seed and the pixel position in the photograph.

A counter-based integer hash gives the same values on any device, in any batch, and for a window as
for the full frame. Normal numbers come from a table of quantiles, which avoids transcendental
functions per pixel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reiqa import seeds as project_seeds
from reiqa.distortions.bulk import per_image
from reiqa.distortions.colourspace import look_up
from reiqa.distortions.frame import Frame
from reiqa.tensors import device_table, upload

_ENTRIES = 1 << 16
# Multipliers of a well-tested 32-bit integer hash (C. Wellons, "hash-prospector", 2018).
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def hash_bits(
    shape: tuple[int, int],
    seeds: Sequence[int],
    frames: Sequence[Frame],
    stream: str,
    device: torch.device,
) -> Tensor:
    """Return 32 random bits per pixel.

    Args:
        shape: height and width of the windows.
        seeds: one seed per image.
        frames: position of each window.
        stream: name of the field; fields with different names are independent.
        device: device of the result.

    Returns:
        ``(N, H, W)`` int32.
    """
    keys = [project_seeds.derive("field", stream, seed) for seed in seeds]
    drawn = [
        (_signed(key), _signed(key >> 31), _signed(frame.top << 16), frame.left)
        for key, frame in zip(keys, frames, strict=True)
    ]
    first, second, tops, lefts = upload(drawn, device, torch.int32).T
    # 32-bit integers wrap around.
    rows = torch.arange(shape[0], dtype=torch.int32, device=device) * (1 << 16)
    columns = torch.arange(shape[1], dtype=torch.int32, device=device)
    state = (rows + (tops + first)[:, None])[:, :, None] + (columns + lefts[:, None])[:, None, :]
    spare = torch.empty_like(state)
    _fold(state, spare, 16).mul_(_signed(_FIRST)).bitwise_xor_(second[:, None, None])
    _fold(state, spare, 15).mul_(_signed(_SECOND))
    return _fold(state, spare, 16)


def normal_field(
    channels: int,
    scales: Sequence[float],
    shape: tuple[int, int],
    seeds: Sequence[int],
    frames: Sequence[Frame],
    device: torch.device,
) -> Tensor:
    """Return ``(N, channels, H, W)`` float32 normal numbers of the standard deviations ``scales``.

    Numbers have 16 bits; the tails end at 4.3 standard deviations.
    """
    quantiles = device_table(_quantiles, device)
    if len(set(scales)) == 1:
        quantiles = quantiles * scales[0]
    out = torch.empty((len(seeds), channels, *shape), device=device)
    for pair in range(0, channels, 2):
        drawn = hash_bits(shape, seeds, frames, f"normal{pair}", device)
        out[:, pair] = look_up(quantiles, drawn & 0xFFFF)
        if pair + 1 < channels:
            high = drawn.bitwise_right_shift_(16).bitwise_and_(0xFFFF)
            out[:, pair + 1] = look_up(quantiles, high)
    return out if len(set(scales)) == 1 else out.mul_(per_image(scales, device))


def _quantiles() -> Tensor:
    """Return normal quantiles at the centres of 2**16 intervals, rounded for portability."""
    shares = (torch.arange(_ENTRIES, dtype=torch.float64) + 0.5) / _ENTRIES
    quantiles: Tensor = torch.special.ndtri(shares)
    return quantiles.mul_(4096).round_().div_(4096).float()


def _signed(number: int) -> int:
    """Read the low 32 bits as a two's complement number."""
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def _fold(state: Tensor, spare: Tensor, by: int) -> Tensor:
    """Xor ``state`` in place with itself shifted right; the mask makes the shift logical."""
    torch.bitwise_right_shift(state, by, out=spare)
    return state.bitwise_xor_(spare.bitwise_and_((1 << (32 - by)) - 1))
