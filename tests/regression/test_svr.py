"""Support vector regression: against a solver of its own, scikit-learn, and through the stages."""

import json

import numpy as np
import pytest
from scipy import optimize
from scipy.stats import spearmanr
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from support.tables import rows_of

from reiqa import layout, params, store
from reiqa.data.index import read_index
from reiqa.errors import BadInputError
from reiqa.params import RegressionParams, SVRParams
from reiqa.regression import kernel, regressor, splits, svr
from reiqa.regression.cross_dataset import evaluate_across
from reiqa.regression.fitting import fit, regressor_path
from reiqa.regression.protocol import refit_all, run_split
from reiqa.regression.ridge_path import Penalty, ScaledRows, penalty_grid
from reiqa.regression.scaler import FeatureScaler
from reiqa.regression.splits import Split
from reiqa.scoring.build import build_bundle

KERNELS = ("rbf", "linear")


def sample(rows: int = 24, width: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features on unlike scales, and standardised ratings that follow them along a curve."""
    rng = np.random.default_rng(seed)
    values = (3 + np.exp(rng.normal(size=width)) * rng.normal(size=(rows, width))).astype("f4")
    scaled = StandardScaler().fit_transform(values)
    ratings = scaled @ rng.normal(size=width) + np.sin(2 * scaled[:, 0])
    ratings += 0.3 * rng.normal(size=rows)
    return values, (ratings - ratings.mean()) / ratings.std()


def scaled(values: np.ndarray, clip: float | None = None) -> ScaledRows:
    rows = np.arange(len(values))
    return ScaledRows(values, rows, FeatureScaler.fit(values, rows, clip))


def kernel_of(name: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The kernel matrix entry by entry; gamma is one over the number of features."""

    def one(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y) if name == "linear" else float(np.exp(-((x - y) ** 2).sum() / len(x)))

    return np.array([[one(x, y) for y in second] for x in first])


def solve_primal(
    gram: np.ndarray, ratings: np.ndarray, cost: float, epsilon: float
) -> tuple[np.ndarray, float, float]:
    """Minimise ``w'w / 2 + C sum(slack)`` such that ``|y - f| <= epsilon + slack``.

    Written down from the definition, in the coefficients of the kernels, the constant and the
    slacks; nothing is shared with LIBSVM, which works on the dual problem.

    Returns:
        coefficients, constant and objective.
    """
    count = len(ratings)

    def split(x: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        return x[:count], float(x[count]), x[count + 1 :]

    def objective(x: np.ndarray) -> float:
        weights, _, slack = split(x)
        return float(weights @ gram @ weights / 2 + cost * slack.sum())

    def gradient(x: np.ndarray) -> np.ndarray:
        weights, _, _ = split(x)
        return np.concatenate([gram @ weights, [0.0], np.full(count, cost)])

    ones, eye = np.ones((count, 1)), np.eye(count)
    above = np.hstack([gram, ones, eye])
    below = np.hstack([-gram, -ones, eye])
    constraints = [
        {"type": "ineq", "fun": lambda x: above @ x - ratings + epsilon, "jac": lambda _: above},
        {"type": "ineq", "fun": lambda x: below @ x + ratings + epsilon, "jac": lambda _: below},
    ]
    bounds = [(None, None)] * (count + 1) + [(0, None)] * count
    start = np.concatenate([np.zeros(count + 1), np.abs(ratings)])
    found = optimize.minimize(
        objective, start, jac=gradient, method="SLSQP", bounds=bounds, constraints=constraints,
        options={"maxiter": 2000, "ftol": 1e-12},
    )  # fmt: skip
    assert found.success, found.message
    weights, constant, _ = split(found.x)
    return weights, constant, float(found.fun)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("cost", "epsilon"), [(0.1, 0.1), (2.0, 0.3)])
def test_predictions_are_those_of_the_quadratic_programme(name, cost, epsilon):
    values, ratings = sample()
    fresh, _ = sample(10, seed=0)
    scaler = StandardScaler().fit(values.astype(np.float64))
    inside, outside = (scaler.transform(each.astype(np.float64)) for each in (values, fresh))
    gram = kernel_of(name, inside, inside)
    weights, constant, least = solve_primal(gram, ratings, cost, epsilon)
    features = scaled(values)
    path = svr.fit_svr(features, ratings, [Penalty(1 / cost, 0.0, epsilon)], SVRParams(kernel=name))
    found = path.predict(features)[:, 0]
    slack = np.maximum(np.abs(ratings - found) - epsilon, 0)
    # Weights of the same function, to compare the objectives.
    same = np.linalg.lstsq(gram, found - path.intercepts[0], rcond=None)[0]
    assert same @ gram @ same / 2 + cost * slack.sum() == pytest.approx(least, rel=2e-3)
    np.testing.assert_allclose(found, gram @ weights + constant, atol=0.02)
    elsewhere = path.predict(ScaledRows(fresh, np.arange(10), features.scaling))[:, 0]
    expected = kernel_of(name, outside, inside) @ weights + constant
    np.testing.assert_allclose(elsewhere, expected, atol=0.02)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("rows", "width"), [(80, 12), (30, 90)])
def test_every_point_of_the_grid_is_scikit_learns(name, rows, width):
    values, ratings = sample(rows, width)
    fresh, _ = sample(25, width, seed=1)
    scaler = StandardScaler().fit(values.astype(np.float64))
    settings = SVRParams(kernel=name, C=(0.01, 10, 4), epsilon=[0.3, 0.05])
    features = scaled(values)
    grid = penalty_grid(RegressionParams(model="svr", svr=settings))
    assert len(grid) == 8
    path = svr.fit_svr(features, ratings, grid, settings)
    predicted = path.predict(ScaledRows(fresh, np.arange(25), features.scaling))
    for column, penalty in enumerate(grid):
        model = SVR(kernel=name, gamma="scale", C=1 / penalty.alpha, epsilon=penalty.epsilon)
        model.fit(scaler.transform(values.astype(np.float64)), ratings)
        expected = model.predict(scaler.transform(fresh.astype(np.float64)))
        np.testing.assert_allclose(predicted[:, column], expected, atol=0.01)
    assert path.notes == []


def test_the_grid_goes_from_the_least_penalty_to_the_greatest():
    settings = RegressionParams(model="svr", svr={"C": (0.1, 10, 3), "epsilon": [0.2, 0.1]})
    expected = [(0.1, 0.1), (1.0, 0.1), (10.0, 0.1), (0.1, 0.2), (1.0, 0.2), (10.0, 0.2)]
    found = [(penalty.alpha, penalty.epsilon) for penalty in penalty_grid(settings)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("block", [1, 37, 10_000])
def test_kernels_do_not_depend_on_blocks(block, monkeypatch):
    values, _ = sample(20, 7)
    other, _ = sample(11, 7, seed=2)
    features = scaled(values, clip=1.5)
    second = ScaledRows(other, np.arange(11), features.scaling)
    dense, fresh = features.dense(), second.dense()
    expected = np.exp(-0.3 * ((fresh[:, None] - dense[None]) ** 2).sum(axis=2))
    coefficients = np.random.default_rng(0).normal(size=(20, 3))
    monkeypatch.setattr("reiqa.regression.scaler._BLOCK", block)
    np.testing.assert_allclose(kernel.rbf_kernel(second, features, 0.3), expected, atol=1e-12)
    sums = kernel.kernel_sums(second, features, 0.3, coefficients)
    np.testing.assert_allclose(sums, expected @ coefficients, atol=1e-12)


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(svr, "_MAX_ITERATIONS", 1)
    values, ratings = sample()
    path = svr.fit_svr(scaled(values), ratings, [Penalty(0.01, 0.0, 0.01)], SVRParams())
    assert path.notes == ["SVR: 1 of 1 points of the grid did not converge"]


@pytest.mark.parametrize("name", KERNELS)
def test_features_that_do_not_vary_predict_a_constant_and_say_so(name):
    values, ratings = sample(30)
    rows = np.arange(30)
    split = Split(rows[:15], rows[15:24], rows[24:], rows[:0])
    settings = RegressionParams(model="svr", svr={"kernel": name})
    trial = run_split(np.ones_like(values), ratings, split, penalty_grid(settings), settings)
    assert np.ptp(trial.predictions) < 1e-9
    assert any("no feature varies" in note for note in trial.notes)


@pytest.mark.parametrize("name", KERNELS)
def test_neither_penalty_nor_predictions_depend_on_test_ratings_or_scale(name):
    values, ratings = sample(40)
    rows = np.arange(40)
    split = Split(rows[:20], rows[20:30], rows[30:], rows[:0])
    settings = RegressionParams(model="svr", svr={"kernel": name})
    grid = penalty_grid(settings)
    expected = run_split(values, ratings, split, grid, settings)
    changed = ratings.copy()
    changed[30:] = 1e6
    found = run_split(values, changed, split, grid, settings)
    assert found.penalty == expected.penalty
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    far = run_split(values, 1000 * ratings - 7, split, grid, settings)
    np.testing.assert_allclose((far.predictions + 7) / 1000, expected.predictions, atol=1e-6)


def test_clipping_and_normal_scores_serve_as_for_ridge():
    values, ratings = sample(60)
    skewed = np.exp(ratings)
    settings = RegressionParams(model="svr", clip=3.0, target="normal_scores")
    kept = refit_all(values, skewed, Penalty(0.1, 0.0, 0.1), settings)
    assert spearmanr(kept.predict(values), skewed).statistic > 0.9
    strange = values[:1] * 1e6
    bound = np.abs(kept.coefficients).sum() + abs(kept.intercept)
    assert abs(kept.predict(strange)[0]) <= bound * skewed.std() + skewed.max()


# Through fit, cross and bundle.


@pytest.fixture
def svr_params(params, changed):
    def with_svr(**fields):
        return changed(params, model="svr", svr=SVRParams(C=(0.1, 10, 3), **fields))

    return with_svr


@pytest.mark.parametrize("name", KERNELS)
def test_the_result_is_what_scikit_learn_gives_step_by_step(make_set, svr_params, name):
    made = make_set("clive", count=80)
    settings = svr_params(kernel=name, epsilon=[0.2, 0.1])
    result = json.loads(fit("clive", settings).read_text())
    both = np.hstack([made.values["content"], made.values["quality"]]).astype(np.float64)
    parts = splits.make_splits(
        read_index(layout.index("clive")), "official", 3, settings.regression.fractions, 0
    )
    section = result["variants"]["both"]
    for number, split in enumerate(parts):
        ratings = made.ratings[split.train]
        y = (ratings - ratings.mean()) / ratings.std()
        scaler = StandardScaler().fit(both[split.train])
        scores = {}
        for epsilon in (0.1, 0.2):
            for cost in (0.1, 1.0, 10.0):
                model = SVR(kernel=name, gamma="scale", C=cost, epsilon=epsilon)
                model.fit(scaler.transform(both[split.train]), y)
                predicted = model.predict(scaler.transform(both[split.val]))
                scores[cost, epsilon] = (
                    spearmanr(predicted, made.ratings[split.val]).statistic, model
                )  # fmt: skip
        chosen = (1 / section["alpha"]["splits"][number], section["epsilon"]["splits"][number])
        score, model = scores[min(scores, key=lambda key: np.hypot(*np.subtract(key, chosen)))]
        assert score >= max(score for score, _ in scores.values()) - 0.03
        predicted = model.predict(scaler.transform(both[split.test]))
        expected = spearmanr(predicted, made.ratings[split.test]).statistic
        assert section["srcc"]["splits"][number] == pytest.approx(expected, abs=0.02)
    assert result["regression"]["svr"]["kernel"] == name
    assert section["srcc"]["median"] > 0.7
    lines = rows_of(layout.companion(layout.result("clive"), "alphas.csv"))
    assert [line["epsilon"] for line in lines] == ["0.1"] * 3 + ["0.2"] * 3
    assert [line["alpha"] for line in lines] == ["0.1", "1", "10"] * 2


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_input_gives_the_same_bytes_at_any_number_of_threads(make_set, svr_params, name):
    make_set("clive", count=60)
    written = []
    for threads in (1, 3):
        settings = svr_params(kernel=name)
        settings = settings.model_copy(
            update={"compute": settings.compute.model_copy(update={"threads": threads})}
        )
        fit("clive", settings)
        files = sorted(layout.result("clive").parent.iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


@pytest.mark.parametrize("name", KERNELS)
def test_cross_uses_the_saved_regressors_and_finds_the_same_without_them(
    make_set, svr_params, name, monkeypatch
):
    made = {dataset: make_set(dataset, count=50) for dataset in ("clive", "spaq")}
    settings = svr_params(kernel=name).model_copy(update={"datasets": ["clive", "spaq"]})
    for dataset in made:
        fit(dataset, settings)
    with monkeypatch.context() as patch:
        patch.setattr("reiqa.regression.cross_dataset.fit_final", None)
        first = evaluate_across(settings).read_bytes()
    for dataset in made:
        regressor_path(dataset).unlink()
    assert evaluate_across(settings).read_bytes() == first
    (line,) = [
        line for line in rows_of(layout.CROSS)
        if (line["train"], line["variant"]) == ("clive", "both")
    ]  # fmt: skip
    values = {
        dataset: np.hstack([each.values["content"], each.values["quality"]])
        for dataset, each in made.items()
    }
    ratings = made["clive"].ratings
    scaler = StandardScaler().fit(values["clive"].astype(np.float64))
    card = json.loads(regressor_path("clive").with_suffix(".json").read_text())
    alpha, epsilon = (card["variants"]["both"][key] for key in ("alpha", "epsilon"))
    model = SVR(kernel=name, C=1 / alpha, epsilon=epsilon)
    model.fit(scaler.transform(values["clive"]), (ratings - ratings.mean()) / ratings.std())
    expected = spearmanr(
        model.predict(scaler.transform(values["spaq"])), made["spaq"].ratings
    ).statistic
    assert float(line["srcc"]) == pytest.approx(expected, abs=0.02)


def test_an_rbf_regressor_that_was_saved_is_refused_by_a_bundle_in_one_line(
    make_set, svr_params, tmp_path
):
    make_set("clive")
    settings = svr_params()
    store.make_artifact(
        layout.result("clive"), "fit", "clive", lambda *_: {}, [], lambda: fit("clive", settings)
    )
    with pytest.raises(BadInputError, match="cannot hold an SVR with RBF kernel") as refusal:
        build_bundle("clive", tmp_path / "mine")
    assert "\n" not in str(refusal.value) and "regression.svr.kernel to linear" in str(
        refusal.value
    )
    assert not (tmp_path / "mine").exists()


def test_a_linear_svr_is_a_linear_regressor(make_set, svr_params):
    made = make_set("clive", count=80, noise=0.01)
    fit("clive", svr_params(kernel="linear"))
    kept = regressor.load_regressor(regressor_path("clive"), "both")
    both = np.hstack([made.values["content"], made.values["quality"]])
    assert kept.weights.shape == (24,) and kept.penalty.epsilon == 0.1
    by_hand = (both - kept.scaling.mean) * kept.scaling.inverse @ kept.weights + kept.intercept
    np.testing.assert_allclose(kept.predict(both), by_hand, rtol=1e-6)
    np.testing.assert_allclose(kept.predict(both), made.ratings, atol=3)


def test_saved_support_vectors_of_a_damaged_file_are_not_used(make_set, svr_params):
    made = make_set("clive")
    fit("clive", svr_params())
    path = regressor_path("clive")
    key = json.loads(path.with_suffix(".json").read_text())["key"]
    both = np.hstack([made.values["content"], made.values["quality"]])
    values = {"content": both[:, :12], "quality": both[:, 12:], "both": both}
    kept = regressor.load_saved(path, key, values.__getitem__)
    assert set(kept) == set(params.VARIANTS) and kept["both"].gamma == pytest.approx(1 / 24)
    assert regressor.load_saved(path, "another", values.__getitem__) is None
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    assert regressor.load_saved(path, key, values.__getitem__) is None
