import itertools
import math

import pytest
import torch
from torch import nn

from reiqa.params import TrainingParams
from reiqa.pretrain import optimizers


def training(**changes):
    return TrainingParams(epochs=1, batch_size=1, **changes)


def test_the_published_rule_gives_about_12_at_the_published_batch():
    pairs = 630 * 2 * 12
    assert optimizers.base_lr(training(), pairs) == pytest.approx(0.6 * 630 * 2 / 64)
    assert optimizers.base_lr(training(), pairs) == pytest.approx(12, abs=0.2)
    assert optimizers.base_lr(training(optimizer="sgd"), 256) == pytest.approx(0.03)
    assert optimizers.base_lr(training(learning_rate=0.7), pairs) == 0.7


def test_the_rate_rises_in_a_line_each_step_then_falls_as_a_cosine():
    rates = [optimizers.lr_at(step, 12.0, 50, 400) for step in range(400)]
    rises = [b - a for a, b in itertools.pairwise(rates[:51])]
    assert rates[0] == pytest.approx(0.01)
    assert max(rises) == pytest.approx(min(rises), rel=1e-9)
    assert all(a > b for a, b in itertools.pairwise(rates[50:]))
    assert rates[200] == pytest.approx(6.0, abs=0.01)
    assert rates[50] == pytest.approx(0.012 + 11.988 * (1 + math.cos(math.pi / 8)) / 2)


def test_warm_up_may_be_left_out():
    assert optimizers.lr_at(0, 2.0, 0, 10) == pytest.approx(2.0)


def slow_lars(weights, gradients, momenta, rate, decay):
    """LARS after You et al. (2017), one tensor at a time; 1-D ones by plain momentum."""
    for n, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
        step = gradient.clone()
        if weight.ndim > 1:
            step += decay * weight
            step *= 1e-3 * weight.norm() / (gradient.norm() + decay * weight.norm() + 1e-8)
        momenta[n] = 0.9 * momenta[n] + step
        weights[n] = weight - rate * momenta[n]


def test_lars_equals_a_slow_reference_and_spares_one_dimensional_weights():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = optimizers.build_optimizer(training(weight_decay=0.1), net, 2.0)
    weights = [p.detach().clone() for p in net.parameters()]
    momenta = [torch.zeros_like(p) for p in weights]
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.randn(6, 5)).square().sum().backward()
        slow_lars(weights, [p.grad for p in net.parameters()], momenta, 2.0, 0.1)
        optimizer.step()
    for found, wanted in zip(net.parameters(), weights, strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_no_rule_decays_one_dimensional_weights(name):
    net = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4))
    groups = optimizers.build_optimizer(training(optimizer=name), net, 0.1).param_groups
    decays = {p.ndim: group["weight_decay"] for group in groups for p in group["params"]}
    assert decays == {2: 1e-4, 1: 0.0}
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
