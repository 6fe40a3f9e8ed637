"""The regression head: the same numbers as the regressor it was made of, in numpy and in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.metrics.pairwise import rbf_kernel

from reiqa.errors import BadInputError
from reiqa.regression.regressor import PiecewiseLinearCalibration, fit_calibration
from reiqa.scoring.bundle import REGRESSOR, Bundle, load_bundle
from reiqa.scoring.head import HeadKernel, RegressionHead, read_head
from reiqa.scoring.module import HeadModule

EMPTY = np.zeros(0)


def head(at: np.ndarray, to: np.ndarray, origin: float = 0.0) -> RegressionHead:
    return RegressionHead(origin, at, to, EMPTY, EMPTY, EMPTY, {"content": 0, "quality": 0})


@pytest.mark.parametrize("knots", [2, 3, 19])
def test_a_curve_is_the_regressors_link(knots: int) -> None:
    link = fit_calibration(np.random.default_rng(0).beta(0.6, 0.4, size=300))
    link = PiecewiseLinearCalibration(link.at[:knots], link.to[:knots])
    fitted = np.linspace(-5, 5, 101)
    made = head(link.at, link.to)
    np.testing.assert_allclose(made.points({"content": fitted}), link(fitted), atol=1e-9)
    curve = HeadModule(made).curve
    np.testing.assert_allclose(curve(torch.from_numpy(fitted)), link(fitted), atol=1e-9)


def test_shares_make_the_score_and_a_mean_expert_has_none() -> None:
    made = head(np.array([-1.0, 0.0, 2.0]), np.array([0.0, 10.0, 90.0]), origin=-0.2)
    outputs = {"content": np.array([0.7, -1.3]), "quality": np.array([0.0, 2.0])}
    shares = made.shares(outputs)
    total = made.points({}) + shares["content"] + shares["quality"]
    np.testing.assert_allclose(total, made.points(outputs))
    assert shares["quality"][0] == 0
    swapped = made.shares({"content": outputs["quality"], "quality": outputs["content"]})
    np.testing.assert_allclose(swapped["content"], shares["quality"])


@pytest.mark.parametrize("bent", [False, True], ids=["linear", "kernel"])
def test_both_heads_clip_and_weigh_features_alike(bent: bool) -> None:
    rng = np.random.default_rng(0)
    slope, mean = rng.normal(size=7), rng.normal(size=7)
    at, to = np.array([-1.0, 0.5, 2.0]), np.array([20.0, 50.0, 70.0])
    widths = {"content": 3, "quality": 4}
    kernels = {
        expert: HeadKernel(
            rng.normal(size=(width, 2)), rng.normal(size=(6, 2)), rng.normal(size=6), 0.4
        )
        for expert, width in widths.items()
        if bent
    }
    made = RegressionHead(0.3, at, to, slope, mean, np.full(7, 0.8), widths, kernels)
    rows = rng.normal(scale=2, size=(5, 7)).astype(np.float32)
    clipped = np.clip(rows - mean, -0.8, 0.8)
    expected = 0.3 + (clipped * slope).sum(axis=1)
    for expert, kernel in kernels.items():
        moved = np.vstack([clipped[:, made.columns(expert)], np.zeros(widths[expert])])
        values = rbf_kernel(moved @ kernel.axes, kernel.centres, gamma=0.4) @ kernel.coefficients
        expected += values[:-1] - values[-1]
    outputs = {
        expert: made.expert_output(expert, rows[:, made.columns(expert)])
        for expert in ("content", "quality")
    }
    points = made.points(outputs)
    np.testing.assert_allclose(points, PiecewiseLinearCalibration(at, to)(expected), atol=1e-6)
    np.testing.assert_allclose(HeadModule(made)(torch.from_numpy(rows)), points, atol=1e-6)


@pytest.mark.parametrize("damage", ["shape", "absent"])
def test_a_kernel_that_does_not_fit_its_expert_is_refused(damage: str, tmp_path: Path) -> None:
    lite = load_bundle("lite")
    tensors = load_file(lite.part(REGRESSOR))
    if damage == "shape":
        tensors["quality.axes"] = tensors["quality.axes"][:, :-1].copy()
    else:
        del tensors["quality.centres"]
    save_file(tensors, tmp_path / REGRESSOR)
    with pytest.raises(BadInputError, match="quality"):
        read_head(Bundle(tmp_path, lite.manifest, lite.digest))
