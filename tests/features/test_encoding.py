"""What is done to an encoder so that it runs fast: it must stay the same function."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reiqa.encoders import build_encoder
from reiqa.features import encoding


class Conversions(TorchDispatchMode):
    """Counts conversions of tensors to another type."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.to, torch.ops.aten._to_copy)
        return func(*args, **(kwargs or {}))


pytestmark = pytest.mark.usefixtures("one_thread")


def test_on_a_cpu_no_more_pixels_than_a_cache_holds_go_through_at_once(monkeypatch):
    sizes = []
    encoder = build_encoder("mobilenet_v3_small", "quality")
    kept = encoding.FrozenEncoder(encoder, [1.0, 0.5], torch.device("cpu"))
    forward = type(encoder).forward

    def measured(self, batch):
        sizes.append(tuple(batch.shape))
        return forward(self, batch)

    monkeypatch.setattr(type(encoder), "forward", measured)
    monkeypatch.setattr(encoding, "_CPU_PIXELS", 2 * 64 * 64)
    batch = torch.rand(5, 3, 64, 64)
    rows = kept.encode(encoding.scaled_views(batch, [1.0, 0.5]))
    assert sizes == [(2, 3, 64, 64), (2, 3, 64, 64), (1, 3, 64, 64), (5, 3, 32, 32)]
    alone = kept.encode(encoding.scaled_views(batch[4:], [1.0, 0.5]))
    torch.testing.assert_close(
        torch.from_numpy(rows[4:]), torch.from_numpy(alone), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("pooling", ["last", "stages"])
def test_threads_and_batch_change_features_by_rounding_alone(pooling):
    kept = encoding.FrozenEncoder(
        build_encoder("efficientnet_lite0", "content", seed=1),
        [1.0],
        torch.device("cpu"),
        pooling=pooling,
    )
    batch = torch.rand(4, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(kept.encode([batch[:1]]))
    bound = 1e-5 * float(expected.abs().max())
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = torch.from_numpy(kept.encode([batch])[:1])
        torch.testing.assert_close(found, expected, atol=bound, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "stages"])
def test_features_in_bf16_are_those_of_autocast(pooling):
    encoder = build_encoder("mobilenet_v3_small", "quality", seed=2)
    batch = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    plain, rounded = (
        encoding.FrozenEncoder(encoder, [1.0, 0.5], torch.device("cpu"), precision, pooling)
        for precision in ("float32", "bf16")
    )
    views = encoding.scaled_views(batch, [1.0, 0.5])
    found = torch.from_numpy(rounded.encode(views))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = torch.cat([plain._encoder(view).float() for view in views], dim=1)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    exact = torch.from_numpy(plain.encode(views))
    difference = float((found - exact).norm() / exact.norm())
    assert 1e-4 < difference < 0.05, "rounded, and not by more than bfloat16 does"


def test_weights_are_rounded_once_and_not_in_every_forward_pass():
    encoder = build_encoder("mobilenet_v3_small", "quality", seed=2)
    kept = encoding.FrozenEncoder(encoder, [1.0], torch.device("cpu"), "bf16")
    layers = sum(isinstance(layer, torch.nn.Conv2d) for layer in encoder.modules())
    with Conversions() as seen:
        kept.encode([torch.rand(1, 3, 32, 32)])
    assert 0 < seen.count < layers, "activations are rounded, weights are not"
