"""From Python: every kind of image, one score; the same alone, in company, and in any thread."""

import contextlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import miniature

from reiqa import images, layout, store, tensors
from reiqa.errors import BadInputError
from reiqa.features import cache
from reiqa.params import EXPERTS, Params
from reiqa.regression import fitting, regressor
from reiqa.regression.fitting import regressor_path
from reiqa.scoring import Score, Scorer, build

#: Points: what float32 arithmetic in another order may change.
TOLERANCE = 1e-3


def read_tensor(path: Path) -> torch.Tensor:
    return tensors.to_tensor(images.read_rgb(path))


def test_a_score_is_the_regressors_prediction_on_the_scale(in_run, scorer: Scorer) -> None:
    values = [cache.read_features(layout.features("clive", expert)).values for expert in EXPERTS]
    rated = regressor.load_regressor(regressor_path("clive"), "both").predict(np.hstack(values))
    scores = scorer(in_run.photographs)
    # clive is rated from 0 to 100, so a point is a unit of the rating.
    np.testing.assert_allclose(scores, rated, atol=TOLERANCE)


LINEAR_SVR = {"model": "svr", "svr": {"kernel": "linear", "C": [0.01, 1.0, 2]}}
KERNEL_RIDGE = {"model": "kernel_ridge", "alphas": [1e-1, 1e3, 5], "clip": 4.0}


@pytest.mark.parametrize("regression_params", [LINEAR_SVR, KERNEL_RIDGE], ids=["svr", "kernel"])
def test_a_bundle_of_another_model_scores_as_the_pipeline_predicts(
    run, tmp_path: Path, regression_params: dict[str, object]
) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run", ignore=lambda *_: {"bundles"})
    short = {"splits": 2, "bootstrap": 20, "target": "normal_scores"}
    params = Params.model_validate({**miniature.TREE, "regression": regression_params | short})
    with contextlib.chdir(folder):
        fitting.fit("clive", params)
        store.sign_sidecar(layout.result("clive"), "fit", "clive", {}, {})
        build.build_bundle("clive", Path("other"))
        values = [cache.read_features(layout.features("clive", x)).values for x in EXPERTS]
        fitted = regressor.load_regressor(regressor_path("clive"), "both")
        rated = fitted.predict(np.hstack(values))
        shares = fitted.expert_shares(np.hstack(values), np.arange(30), values[0].shape[1])
    made = Scorer.load(folder / "other")
    scores = made(run.photographs)
    assert made.bundle.manifest.fitted.model == regression_params["model"]
    assert np.std(rated) > 1
    np.testing.assert_allclose(scores, rated, atol=TOLERANCE)
    np.testing.assert_allclose([(s.content, s.quality) for s in scores], shares, atol=TOLERANCE)
    assert made.bundle.manifest.intercept + shares[0].sum() == pytest.approx(rated[0], abs=1e-6)
    # The same score as a differentiable module.
    pixels = read_tensor(run.photographs[0])[None].requires_grad_()
    points = made.as_module()(pixels)
    points.sum().backward()
    assert float(points) == pytest.approx(rated[0], abs=TOLERANCE)
    assert pixels.grad is not None and torch.isfinite(pixels.grad).all() and pixels.grad.any()


def test_a_score_is_the_mean_photographs_and_both_shares(run, scorer: Scorer) -> None:
    score = scorer(run.photographs[3])
    intercept = scorer.bundle.manifest.intercept
    assert intercept + score.content + score.quality == pytest.approx(float(score), abs=1e-9)
    assert score.low < score.high
    assert (score.width, score.height) == (64, 48)


KINDS: dict[str, Callable[[Path], object]] = {
    "str": str,
    "pillow": Image.open,
    "numpy bytes": images.read_rgb,
    "numpy view": lambda path: images.read_rgb(path)[::-1][::-1],
    "numpy float32": lambda path: images.read_rgb(path).astype(np.float32) / 255,
    "numpy float64": lambda path: images.read_rgb(path) / 255,
    "torch": read_tensor,
    "torch bytes": lambda path: torch.from_numpy(images.read_rgb(path)).permute(2, 0, 1),
    "torch double": lambda path: read_tensor(path).double(),
    "torch with gradient": lambda path: read_tensor(path).requires_grad_(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_has_the_same_score(run, scorer: Scorer, kind: str) -> None:
    path = run.photographs[7]
    assert scorer(KINDS[kind](path)) == pytest.approx(float(scorer(path)), abs=1e-6)


def test_a_mixed_list_keeps_its_order(run, scorer: Scorer) -> None:
    paths = run.photographs[:4]
    mixed = [str(paths[0]), Image.open(paths[1]), read_tensor(paths[2]), paths[3]]
    assert scorer(mixed) == [scorer(path) for path in paths]
    assert scorer(tuple(mixed[:1])) == [scorer(paths[0])]
    assert scorer([]) == []


def test_company_does_not_change_a_score(run, scorer: Scorer) -> None:
    batch = torch.stack([read_tensor(path) for path in run.photographs[:5]])
    alone = [scorer(image) for image in batch]
    assert scorer(batch) == alone
    assert scorer(batch.flip(0)) == alone[::-1]


def test_grey_is_three_equal_channels(run, scorer: Scorer) -> None:
    grey = np.asarray(Image.open(run.photographs[0]).convert("L"))
    assert scorer(grey) == scorer(np.stack([grey] * 3, axis=2))


WRONG = {
    "numbers to 255": torch.rand(3, 8, 8) * 255,
    "not a number": torch.full((3, 8, 8), torch.nan),
    "two channels": torch.rand(2, 8, 8),
    "no pixels": torch.rand(3, 0, 8),
    "integers": np.zeros((8, 8, 3), dtype=np.int64),
    "four channels": np.zeros((8, 8, 4), dtype=np.uint8),
    "a line": np.zeros(8, dtype=np.uint8),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_image_is_refused_in_one_line(scorer: Scorer, what: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        scorer(WRONG[what])
    assert "\n" not in str(refusal.value)


def test_a_huge_image_is_scaled_down_whatever_kind_it_is(scorer: Scorer) -> None:
    smooth = Image.effect_noise((40, 30), 40).convert("RGB").resize((480, 360))
    score = scorer(smooth)
    assert (score.width, score.height) == (480, 360)
    small = smooth.resize((295, 221), Image.Resampling.BICUBIC)
    assert score == scorer(small)
    # On floats it is torch's filter instead of Pillow's, and nothing is rounded.
    assert scorer(np.asarray(smooth) / 255) == pytest.approx(float(score), abs=0.5)


def test_many_threads_get_what_one_gets(run, scorer: Scorer) -> None:
    expected = scorer(run.photographs)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scorer, run.photographs * 3)) == expected * 3


def test_a_score_is_a_number_that_travels_whole(run, scorer: Scorer) -> None:
    score = scorer(run.photographs[0])
    copy = pickle.loads(pickle.dumps(score))
    assert isinstance(copy, Score) and copy == score
    assert (copy.low, copy.quality, copy.height) == (score.low, score.quality, score.height)
    assert max(scorer(run.photographs[:3])) >= score


def test_the_module_gives_the_scorers_value(run, scorer: Scorer) -> None:
    batch = torch.stack([read_tensor(path) for path in run.photographs[:6]])
    found = scorer.as_module()(batch)
    assert found.shape == (6,) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scorer(batch), atol=TOLERANCE)


def test_the_module_has_a_gradient_that_points_uphill(run, scorer: Scorer) -> None:
    network = scorer.as_module()
    image = read_tensor(run.photographs[5])[None].requires_grad_()
    before = network(image).sum()
    (gradient,) = torch.autograd.grad(before, image)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    step = 1e-3 / gradient.abs().max()
    with torch.no_grad():
        assert network(image + step * gradient) > before


def test_the_module_is_a_frozen_copy(run, scorer: Scorer) -> None:
    image = read_tensor(run.photographs[0])[None]
    network = scorer.as_module()
    before = scorer(image[0])
    assert not any(parameter.requires_grad for parameter in network.parameters())
    expected = network(image)
    assert torch.equal(network.train()(image), expected)
    network.double()
    assert scorer(image[0]) == before


def test_the_name_is_there_without_torch_being_loaded() -> None:
    code = (
        "import sys, reiqa; assert 'torch' not in sys.modules; "
        "from reiqa import Scorer; print(Scorer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Scorer\n"
