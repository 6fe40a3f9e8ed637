"""What is done to an encoder so that it runs fast: it must stay the same function."""

import pytest
import torch

from reiqa.encoders import build_encoder
from reiqa.features import encoding


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


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
