"""Optimisers and the learning rate schedule."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from reiqa.params import TrainingParams

_SGD_MOMENTUM = 0.9

# The published schedule ends at 0.1^3 of the base rate and warms up from 0.01 for a rate of 12.
_FINAL_FRACTION = 1e-3
_INITIAL_FRACTION = 0.01 / 12

# The distortion head starts from random weights, while the encoder may start from trained ones.
_HEAD_FACTOR = 10


def build_optimizer(
    settings: TrainingParams, module: nn.Module, rate: float, fast: nn.Module | None = None
) -> Optimizer:
    """Return the optimiser of all parameters of ``module``.

    One-dimensional parameters (biases, normalisation) have no weight decay and no LARS scaling, as
    timm's LARS uses no trust ratio for groups without decay.

    Args:
        settings: optimiser and weight decay.
        module: module to train.
        rate: initial learning rate; the loop updates it at each step with `set_lr`.
        fast: part of ``module`` with a ten times higher learning rate.
    """
    chosen = {id(p) for p in fast.parameters()} if fast else set()
    parameters = [p for p in module.parameters() if p.requires_grad]
    own = [p for p in parameters if id(p) not in chosen]
    groups = [
        {"params": [p for p in own if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if fast:
        groups.append({"params": [*fast.parameters()], "weight_decay": 0.0, "factor": _HEAD_FACTOR})
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=rate, fused=True)
    if settings.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=_SGD_MOMENTUM, fused=True)
    from timm.optim.lars import Lars

    lars: Optimizer = Lars(groups, lr=rate, momentum=_SGD_MOMENTUM, trust_coeff=1e-3)
    return lars


def set_lr(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1)


def base_lr(settings: TrainingParams, pairs: int) -> float:
    """Return the learning rate after warm-up.

    ``auto`` scales with the number of pairs per step over all processes. LARS: 0.6 x pairs / 768,
    which equals the published 0.6 x images x scales / 64 for 12 versions per image and scale (11.8
    at 15,120 pairs). SGD: 0.03 x pairs / 256, as in MoCo-v2. AdamW: 0.0005 x sqrt(pairs / 256).

    Args:
        settings: contains the rate, unless it is ``auto``.
        pairs: number of pairs per step.
    """
    if settings.learning_rate != "auto":
        return settings.learning_rate
    if settings.optimizer == "lars":
        return 0.6 * pairs / 768
    if settings.optimizer == "sgd":
        return 0.03 * pairs / 256
    return 5e-4 * math.sqrt(pairs / 256)


def lr_at(step: int, full: float, warmup: int, total: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine decay.

    Args:
        step: from 0.
        full: peak of the cosine.
        warmup: number of warm-up steps; the warm-up ends on the cosine.
        total: total number of steps.
    """
    if step < warmup:
        first, last = full * _INITIAL_FRACTION, _cosine(warmup, full, total)
        return first + (last - first) * step / warmup
    return _cosine(step, full, total)


def _cosine(step: int, full: float, total: int) -> float:
    least = full * _FINAL_FRACTION
    return least + (full - least) * (1 + math.cos(math.pi * step / total)) / 2
