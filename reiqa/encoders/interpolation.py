"""Interpolation between the weights of two encoders (WiSE-FT, Wortsman et al., CVPR 2022).

Extrapolation scales the difference by more than 1 (task arithmetic, Ilharco et al., ICLR 2023).
"""

import copy

import torch

from reiqa.encoders.backbones import Encoder


def interpolate(initial: Encoder, trained: Encoder, share: float) -> Encoder:
    """Return a copy of ``trained`` with interpolated weights.

    Args:
        initial: weights before training, of the same backbone.
        trained: weights after training, with the same statistics of batch normalisation.
        share: weight of ``trained``; ``1 - share`` is the weight of ``initial``.
    """
    encoder = copy.deepcopy(trained)
    before = initial.body.state_dict()
    with torch.no_grad():
        for name, value in encoder.body.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(before[name].to(value.device), value, share))
    return encoder
