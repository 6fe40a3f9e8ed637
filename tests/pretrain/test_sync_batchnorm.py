"""Shared batch statistics replace only the statistics: what else a layer does stays."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from reiqa.encoders import build_encoder
from reiqa.pretrain.distributed import convert_sync_batchnorm


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def used(backbone: str) -> nn.Module:
    """A network whose normalisations have seen images."""
    body = build_encoder(backbone, "quality", seed=1).body.train()
    with torch.no_grad():
        body(torch.rand(4, 3, 64, 64))
    return body


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("backbone", ["resnet18", "timm/resnetv2_18", "timm/mobilenetv3_small_050"])
@torch.no_grad()
def test_of_one_process_they_are_those_of_plain_batchnorm(backbone: str) -> None:
    plain = used(backbone)
    shared = convert_sync_batchnorm(copy.deepcopy(plain), torch.device("cpu"))
    images = torch.rand(4, 3, 64, 64)
    for training in (True, False):
        plain.train(training)
        shared.train(training)
        torch.testing.assert_close(shared(images), plain(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shared.state_dict(), plain.state_dict(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_on_a_gpu_the_activation_in_timms_layers_stays() -> None:
    plain = used("timm/resnetv2_18").eval()
    shared = convert_sync_batchnorm(copy.deepcopy(plain), torch.device("cuda"))
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in shared.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in shared.modules())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(shared(images), plain(images))
