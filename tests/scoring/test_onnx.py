"""A bundle as ONNX says what the bundle says, at every size."""

import builtins
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from typer.testing import CliRunner

from reiqa import tensors
from reiqa.cli import app
from reiqa.encoders import build_encoder, save_encoder, with_pooling
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.features.optimize import SamePadConv2d
from reiqa.images import resize
from reiqa.params import Pooling
from reiqa.scoring import Scorer, onnx
from reiqa.scoring.experts import open_session
from reiqa.scoring.head import HeadKernel, RegressionHead
from reiqa.scoring.module import HeadModule, ScorerModule

SIZES = [(1, 32, 32), (3, 48, 64), (1, 101, 77), (2, 160, 33), (1, 255, 256)]


def picture(count: int, height: int, width: int) -> Tensor:
    """Structure at several scales, as photographs have it."""
    generator = torch.Generator().manual_seed(height * width)
    parts = [
        torch.nn.functional.interpolate(
            torch.rand(count, 3, -(-height // step), -(-width // step), generator=generator),
            size=(height, width),
        )
        for step in (1, 4, 16)
    ]
    return torch.stack(parts).mean(dim=0)


def infer(path: Path, batch: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["points"], {"images": batch.numpy()})[0]


def test_the_file_gives_the_scorers_points_at_every_size(scorer: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    onnx.export_onnx(scorer, path)
    for size in SIZES:
        batch = picture(*size)
        found = infer(path, batch)
        assert found.shape == (size[0],)
        np.testing.assert_allclose(found, scorer(batch), atol=1e-3)


def test_the_verb_exports_a_bundle_by_its_path(run, scorer: Scorer, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "tiny.onnx"
    done = CliRunner().invoke(app, ["export", str(run.bundle), "-o", str(path)])
    assert done.exit_code == 0, done.output
    batch = picture(2, 48, 64)
    np.testing.assert_allclose(infer(path, batch), scorer(batch), atol=1e-3)


def test_pooled_stages_padding_by_size_and_kernels_are_exported_too(tmp_path: Path) -> None:
    experts = {
        name: with_pooling(build_encoder("efficientnet_lite0", name), "stages")
        for name in ("content", "quality")
    }
    widths = {name: 2 * expert.width for name, expert in experts.items()}
    count = sum(widths.values())
    rng = np.random.default_rng(0)
    slope = rng.normal(size=count)
    kernels = {
        name: HeadKernel(
            rng.normal(size=(width, 3)) / width, rng.normal(size=(9, 3)), rng.normal(size=9), 0.2
        )
        for name, width in widths.items()
    }
    head = RegressionHead(
        0.1,
        np.array([0.0, 1.0, 2.0]),
        np.array([50.0, 51.0, 53.0]),
        slope,
        np.zeros(count),
        np.full(count, 0.5),
        widths,
        kernels,
    )
    network = ScorerModule(experts, (1.0, 0.5), HeadModule(head), ResizePolicy(None, 10**8, 1))

    class _Scorer:
        def as_module(self) -> ScorerModule:
            return network

    path = tmp_path / "stages.onnx"
    onnx.export_onnx(_Scorer(), path)
    for size in SIZES[1:4]:
        batch = picture(*size)
        np.testing.assert_allclose(infer(path, batch), network(batch).numpy(), atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 300), st.integers(4, 300))
def test_half_scale_by_products_is_half_scale(height: int, width: int) -> None:
    batch = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(onnx.half(batch), tensors.half(batch), atol=2e-6, rtol=0)


def test_the_missing_package_is_named(scorer, tmp_path: Path, monkeypatch) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name == "onnx":
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInputError, match=r"reiqa\[pipeline\]"):
        onnx.export_onnx(scorer, tmp_path / "x.onnx")


@pytest.mark.parametrize("pooling", ["last", "stages"])
@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "efficientnet_lite0", "resnet18"])
def test_the_graph_of_an_expert_equals_its_network_at_every_size(
    backbone: str, pooling: Pooling, tmp_path: Path
) -> None:
    path = tmp_path / "quality.safetensors"
    encoder = build_encoder(backbone, "quality", seed=1)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that folding has to take into account
            module.running_mean.normal_(0, 0.2, generator=torch.Generator().manual_seed(2))
            module.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(3))
    save_encoder(encoder, path, {})
    graph = tmp_path / "quality.onnx"
    onnx.write_expert_graph(path, pooling, graph)
    assert graph.stat().st_size < path.stat().st_size / 20  # the weights are not in it
    session = open_session(graph)
    network = with_pooling(encoder.eval(), pooling)
    for size in [*SIZES, (1, 2, 300), (1, 1, 1), (2, 7, 5)]:
        batch = picture(*size)
        (found,) = session.run(None, {"images": batch.numpy()})
        with torch.inference_mode():
            expected = network(batch).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_graph_that_differs_from_its_network_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "quality.safetensors"
    save_encoder(build_encoder("efficientnet_lite0", "quality"), path, {})
    monkeypatch.setattr(onnx, "_SamePadOperator", _PadsAtTheStart)
    with pytest.raises(BadInputError, match=r"quality\.safetensors: cannot be exported"):
        onnx.write_expert_graph(path, "stages", tmp_path / "quality.onnx")
    assert not (tmp_path / "quality.onnx").exists()


class _PadsAtTheStart(SamePadConv2d):
    """As torch pads: equally on both sides, so that even sizes are shifted by a pixel."""

    def forward(self, input: Tensor) -> Tensor:
        sides = [kernel // 2 for kernel in self.kernel_size]
        return nn.functional.conv2d(
            input, self.weight, self.bias, self.stride, sides, self.dilation, self.groups
        )


# torch 2.15 repeats the first row where the result is one pixel wide.
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(4, 90))
def test_half_scale_by_pillow_is_half_scale(height: int, width: int) -> None:
    batch = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    found = resize.half(batch.numpy())
    np.testing.assert_allclose(found, tensors.half(batch).numpy(), atol=5e-6)
    assert found.min() >= 0 and found.max() <= 1
