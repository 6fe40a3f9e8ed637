"""Which rule updates the query encoder, and how large its steps are at each step."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from reiqa.params import TrainingParams

_SGD_MOMENTUM = 0.9

# The published schedule ends at 0.1^3 of the full rate and warms up from 0.01 of 12.
_FINAL_SHARE = 1e-3
_FIRST_SHARE = 0.01 / 12


def build_optimizer(settings: TrainingParams, module: nn.Module, rate: float) -> Optimizer:
    """Return the optimiser of all parameters of ``module``.

    One-dimensional parameters (biases, normalisation) are not decayed, and LARS does not scale
    their rate: in timm's LARS a group without decay has no trust ratio.

    Args:
        settings: names the rule and the decay.
        module: what is trained.
        rate: learning rate; set anew at each step by `rate_at`.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=rate, fused=True)
    if settings.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=_SGD_MOMENTUM, fused=True)
    from timm.optim.lars import Lars

    lars: Optimizer = Lars(groups, lr=rate, momentum=_SGD_MOMENTUM, trust_coeff=1e-3)
    return lars


def base_lr(settings: TrainingParams, pairs: int) -> float:
    """Return the learning rate after warm-up.

    ``auto`` follows the pairs of a step, over all processes. LARS: the published 0.6 x images x
    scales / 64, which holds for 12 versions of an image at a scale, so 0.6 x pairs / 768: 11.8 at
    15,120 pairs. SGD: MoCo-v2's 0.03 at 256. AdamW, whose step does not grow with the gradient:
    0.0005 at 256, growing with the root.

    Args:
        settings: the rate stands here if it is not ``auto``.
        pairs: pairs a step.
    """
    if settings.learning_rate != "auto":
        return settings.learning_rate
    if settings.optimizer == "lars":
        return 0.6 * pairs / 768
    if settings.optimizer == "sgd":
        return 0.03 * pairs / 256
    return 5e-4 * math.sqrt(pairs / 256)


def lr_at(step: int, full: float, warmup: int, total: int) -> float:
    """Return the learning rate of a step: a line up to the cosine, then the cosine down.

    Args:
        step: from 0.
        full: the cosine's height.
        warmup: steps of the line; it meets the cosine at its end.
        total: steps in all.
    """
    if step < warmup:
        first, last = full * _FIRST_SHARE, _cosine(warmup, full, total)
        return first + (last - first) * step / warmup
    return _cosine(step, full, total)


def _cosine(step: int, full: float, total: int) -> float:
    least = full * _FINAL_SHARE
    return least + (full - least) * (1 + math.cos(math.pi * step / total)) / 2
