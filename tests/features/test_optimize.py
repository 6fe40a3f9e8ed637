"""What is done to a network so that it runs fast: it must stay the same function."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from reiqa.encoders import build_encoder
from reiqa.features.optimize import SamePadConv2d, optimize_for_inference

pytestmark = pytest.mark.usefixtures("one_thread")


def used(backbone):
    """An encoder whose normalisations have seen something: fresh ones do next to nothing."""
    encoder = build_encoder(backbone, "quality", seed=1).eval()
    random = torch.Generator().manual_seed(0)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2, generator=random)
            layer.running_var.uniform_(0.5, 2, generator=random)
            layer.weight.data.uniform_(0.5, 1.5, generator=random)
            layer.bias.data.normal_(0, 0.1, generator=random)
    return encoder


def normalisations(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def apart(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "backbone",
    [
        *("efficientnet_lite0", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18"),
        *("timm/mobilenetv3_small_050", "timm/resnet18"),
    ],
)
@torch.no_grad()
def test_a_folded_network_is_the_same_function_without_its_normalisations(backbone):
    encoder = used(backbone)
    images = torch.rand(2, 3, 65, 96, generator=torch.Generator().manual_seed(1))
    expected, before = encoder.body(images), normalisations(encoder.body)
    fast = optimize_for_inference(encoder.body)
    assert normalisations(fast) == 0
    assert apart(fast(images), expected) < 1e-5
    assert normalisations(encoder.body) == before
    assert torch.equal(encoder.body(images), expected)


@torch.no_grad()
def test_a_normalisation_before_its_convolution_stays():
    encoder = used("densenet121")
    images = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    fast = optimize_for_inference(encoder.body)
    assert 0 < normalisations(fast) < normalisations(encoder.body)
    assert apart(fast(images), encoder.body(images)) < 1e-5


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        seen = self.norm(self.convolution(images))
        return seen if seen.mean() > 0 else -seen


class Twice(nn.Module):
    """One convolution of which two layers take the output."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        seen = self.convolution(images)
        return self.norm(seen) + seen


@pytest.mark.parametrize("network", [Branching, Twice])
@torch.no_grad()
def test_what_cannot_be_folded_is_left_alone(network):
    whole = network().eval()
    whole.norm.running_mean.fill_(0.5)
    images = torch.rand(1, 3, 8, 8)
    fast = optimize_for_inference(whole)
    assert normalisations(fast) == 1
    assert torch.equal(fast(images), whole(images))


@given(
    sides=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 3)]),
    stride=st.sampled_from([1, 2, 3]),
    biased=st.booleans(),
)
@torch.no_grad()
def test_padding_by_the_convolution_itself_is_tensorflows(sides, kernel, stride, biased):
    convolution = Conv2dSame(4, 4, kernel, stride, groups=2, bias=biased)
    images = torch.rand(2, 4, *sides)
    before = torch.get_rng_state()
    own = SamePadConv2d(convolution)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(own(images), convolution(images), atol=1e-6, rtol=1e-5)


def test_nothing_pads_by_a_copy_in_a_folded_network():
    layers = list(
        optimize_for_inference(build_encoder("efficientnet_lite0", "content").body).modules()
    )
    assert not any(isinstance(layer, Conv2dSame) for layer in layers)
    # The stem and the first convolution of each of four stages have a stride.
    assert sum(isinstance(layer, SamePadConv2d) for layer in layers) == 5
