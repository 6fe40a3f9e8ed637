"""What is done to an encoder so that it runs fast: it must stay the same function."""

import pytest
import torch
from torch import nn

from reiqa.encoders import build
from reiqa.features import encoding


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def used(backbone):
    """An encoder whose normalisations have seen something: fresh ones do next to nothing."""
    encoder = build(backbone, "quality", seed=1).eval()
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
    "backbone", ["efficientnet_lite0", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18"]
)
@torch.no_grad()
def test_a_folded_network_is_the_same_function_without_its_normalisations(backbone):
    encoder = used(backbone)
    images = torch.rand(2, 3, 65, 96, generator=torch.Generator().manual_seed(1))
    expected, before = encoder.body(images), normalisations(encoder.body)
    folded = encoding.folded(encoder.body)
    assert normalisations(folded) == 0
    assert apart(folded(images), expected) < 1e-5
    assert normalisations(encoder.body) == before
    assert torch.equal(encoder.body(images), expected)


@torch.no_grad()
def test_a_normalisation_before_its_convolution_stays():
    encoder = used("densenet121")
    images = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    folded = encoding.folded(encoder.body)
    assert 0 < normalisations(folded) < normalisations(encoder.body)
    assert apart(folded(images), encoder.body(images)) < 1e-5


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
    folded = encoding.folded(whole)
    assert normalisations(folded) == 1
    assert torch.equal(folded(images), whole(images))


def test_on_a_cpu_no_more_pixels_than_a_cache_holds_go_through_at_once(monkeypatch):
    sizes = []
    encoder = build("mobilenet_v3_small", "quality")
    kept = encoding.Encoding(encoder, [1.0, 0.5], torch.device("cpu"))
    forward = type(encoder).forward

    def measured(self, batch):
        sizes.append(tuple(batch.shape))
        return forward(self, batch)

    monkeypatch.setattr(type(encoder), "forward", measured)
    monkeypatch.setattr(encoding, "_CPU_PIXELS", 2 * 64 * 64)
    batch = torch.rand(5, 3, 64, 64)
    rows = kept.rows(encoding.views(batch, [1.0, 0.5]))
    assert sizes == [(2, 3, 64, 64), (2, 3, 64, 64), (1, 3, 64, 64), (5, 3, 32, 32)]
    alone = kept.rows(encoding.views(batch[4:], [1.0, 0.5]))
    torch.testing.assert_close(
        torch.from_numpy(rows[4:]), torch.from_numpy(alone), atol=1e-5, rtol=0
    )
