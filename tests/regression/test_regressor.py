"""The regressor on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest

from reiqa.errors import BadInputError
from reiqa.regression import regressor
from reiqa.regression.regressor import PiecewiseLinearCalibration, Regressor
from reiqa.regression.ridge_path import Penalty
from reiqa.regression.scaler import FeatureScaler


def features_of(variant: str) -> np.ndarray:
    raise AssertionError("a linear regressor needs no features")


def made(width: int = 4) -> Regressor:
    rng = np.random.default_rng(width)
    return Regressor(
        FeatureScaler(rng.normal(size=width), rng.random(width)),
        rng.normal(size=width),
        3.5,
        Penalty(10.0, 0.0),
    )


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "x.regressor.safetensors"
    regressor.save_regressors(
        target, {"content": made(3), "quality": made(4), "both": made(7)}, {"key": "k"}
    )
    return target


@pytest.mark.parametrize(("variant", "width"), [("content", 3), ("quality", 4), ("both", 7)])
def test_what_is_kept_predicts_to_the_bit_what_was_fitted(path, variant, width):
    values = np.random.default_rng(0).normal(size=(6, width)).astype(np.float32)
    kept = regressor.load_regressor(path, variant)
    np.testing.assert_array_equal(kept.predict(values), made(width).predict(values))
    assert kept.penalty == Penalty(10.0, 0.0)


def test_the_prediction_is_the_plain_formula():
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    it = made()
    expected = ((values - it.scaling.mean) * it.scaling.inverse) @ it.weights + it.intercept
    np.testing.assert_allclose(it.predict(values), expected)
    rows = np.array([4, 1])
    np.testing.assert_allclose(it.predict(values, rows), expected[rows])


def test_shares_are_shapley_values_of_the_two_experts():
    """Against the definition: each order of adding an expert to the mean features."""
    curve = PiecewiseLinearCalibration(np.array([-1.0, 3.0, 6.0]), np.array([0.0, 50.0, 60.0]))
    it = replace(made(7), link=curve)
    values = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    rows = np.array([4, 1, 2])

    def score(row: int, *experts: slice) -> float:
        seen = it.scaling.mean.copy()
        for columns in experts:
            seen[columns] = values[row, columns]
        deviation = (seen - it.scaling.mean) * it.scaling.inverse
        return float(curve(np.array([deviation @ it.weights + it.intercept]))[0])

    content, quality = slice(3), slice(3, None)
    shares = it.expert_shares(values, rows, 3)
    for row, (first, second) in zip(rows.tolist(), shares, strict=True):
        for share, one, other in ((first, content, quality), (second, quality, content)):
            added_first = score(row, one) - score(row)
            added_last = score(row, one, other) - score(row, other)
            assert share == pytest.approx((added_first + added_last) / 2, abs=1e-4)
        assert first + second + score(row) == pytest.approx(score(row, content, quality), abs=1e-4)
    np.testing.assert_allclose(it.predict(values, rows), shares.sum(1) + score(0), rtol=1e-12)


def test_the_reach_of_features_is_kept(tmp_path):
    target, it = tmp_path / "clipped.safetensors", made(4)
    scaling = FeatureScaler(it.scaling.mean, it.scaling.inverse, 0.5)
    clipped = Regressor(scaling, it.weights, it.intercept, it.penalty)
    regressor.save_regressors(target, dict.fromkeys(("content", "quality", "both"), clipped), {})
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    predicted = regressor.load_regressor(target, "both").predict(values)
    np.testing.assert_array_equal(predicted, clipped.predict(values))
    assert not np.allclose(predicted, it.predict(values))


def test_features_of_another_width_are_refused():
    with pytest.raises(BadInputError, match="got 5 features"):
        made(4).predict(np.zeros((2, 5), dtype=np.float32))


def test_the_same_regressors_give_the_same_bytes(path, tmp_path):
    other = tmp_path / "y.regressor.safetensors"
    regressor.save_regressors(
        other, {"content": made(3), "quality": made(4), "both": made(7)}, {"key": "k"}
    )
    assert other.read_bytes() == path.read_bytes()


def test_kept_regressors_serve_only_under_their_key(path):
    assert set(regressor.load_saved(path, "k", features_of)) == {"content", "quality", "both"}
    assert regressor.load_saved(path, "another", features_of) is None
    path.write_bytes(path.read_bytes()[:-8])
    assert regressor.load_saved(path, "k", features_of) is None


def test_a_file_that_is_not_its_cards_is_refused(path):
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadInputError, match="card"):
        regressor.load_regressor(path, "both")


def test_a_card_that_lies_about_the_contents_is_refused(path):
    card = json.loads(path.with_suffix(".json").read_text())
    del card["variants"]["both"]
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(BadInputError, match="both"):
        regressor.load_regressor(path, "both")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInputError, match=r"none\.json"):
        regressor.load_regressor(tmp_path / "none.safetensors", "both")
