"""Copies that nobody rated: paired rightly, fitted beside the ratings, kept out of the tests."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from reiqa import catalog, layout, stages, store
from reiqa.errors import BadInputError
from reiqa.params import Params, RankingParams, RegressionParams
from reiqa.regression import cross_dataset, fitting
from reiqa.regression.dataset import load_rated_features
from reiqa.regression.protocol import refit_all, run_split
from reiqa.regression.ranking import RankedPairs, load_degraded
from reiqa.regression.ridge_path import Penalty, ScaledRows, fit_path
from reiqa.regression.scaler import FeatureScaler
from reiqa.regression.splits import Split

COPIES = "demo_mixed"
ORDER = RankingParams(dataset=COPIES, weight=0.5, margin=0.2)
SETTINGS = RegressionParams(ranking=ORDER)


def ladder_of(photographs: range, levels: int = 2) -> list[tuple[str, str, str, int]]:
    """Rows of an index, sorted as one is: originals and their blurred copies."""
    rows = []
    for number in photographs:
        original = f"{number:04d}"
        rows.append((f"images/{original}.png", original, "", 0))
        rows += [
            (f"images/{original}_blur_l{level}.png", original, "blur", level)
            for level in range(1, levels + 1)
        ]
    return sorted(rows)


@pytest.fixture
def pairs() -> RankedPairs:
    """Three photographs, each with a better and a worse copy."""
    values = np.random.default_rng(1).normal(size=(6, 9)).astype(np.float32)
    return RankedPairs(values, np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([0, 7, 12]))


@pytest.fixture
def rated() -> tuple[np.ndarray, np.ndarray, Split]:
    draw = np.random.default_rng(2)
    rows = np.arange(14)
    split = Split(rows[:6], rows[6:10], rows[10:], rows[:0])
    return draw.normal(size=(14, 9)).astype(np.float32), draw.normal(size=14), split


def test_neighbours_in_level_are_paired_and_a_gap_is_not(make_set):
    make_set(count=6)
    rows = [*ladder_of(range(2), levels=3), *ladder_of(range(40, 41), levels=1)]
    del rows[2]  # the first photograph's level 2
    make_set(COPIES, count=len(rows), listed=rows)
    found = load_degraded(load_rated_features("clive"), COPIES)
    names = [row[0][7:] for row in rows]
    paired = [
        (names[better], names[worse], row)
        for better, worse, row in zip(found.better, found.worse, found.photograph, strict=True)
    ]
    assert paired == [
        ("0000.png", "0000_blur_l1.png", 0),
        ("0001.png", "0001_blur_l1.png", 1),
        ("0001_blur_l1.png", "0001_blur_l2.png", 1),
        ("0001_blur_l2.png", "0001_blur_l3.png", 1),
        ("0040.png", "0040_blur_l1.png", -1),
    ]


def test_copies_of_other_photographs_or_through_other_experts_are_refused(make_set):
    make_set(count=6)
    make_set(COPIES, count=6, listed=ladder_of(range(40, 42)))
    with pytest.raises(BadInputError, match="demo_mixed has no copy"):
        load_degraded(load_rated_features("clive"), COPIES)
    sample = load_rated_features("clive")
    sample.recipes["quality"]["scales"] = [0.5]
    with pytest.raises(BadInputError, match="reiqa features --dataset demo_mixed"):
        load_degraded(sample, COPIES)


def test_rows_of_pairs_are_worse_less_better_under_the_root_of_their_weight(pairs):
    mixing = pairs.difference_matrix(2, weight=4.0).toarray()
    values = np.concatenate([np.ones((2, 9)), pairs.values])
    expected = [*np.ones((2, 9)), *(2 * (pairs.values[pairs.worse] - pairs.values[pairs.better]))]
    np.testing.assert_allclose(mixing @ values, expected, rtol=1e-6)


def test_a_ridge_on_mixed_rows_equals_scikit_learns(pairs):
    scaling = FeatureScaler(np.zeros(9), np.ones(9))
    features = ScaledRows(pairs.values, np.arange(6), scaling)
    mixing = sparse.csr_array(np.random.default_rng(3).normal(size=(5, 6)))
    target = np.arange(5.0)
    alphas = [0.1, 10.0]
    path = fit_path(features, target, [Penalty(alpha, 0.0) for alpha in alphas], mixing)
    for alpha, weights in zip(alphas, path.weights.T, strict=True):
        plain = Ridge(alpha, fit_intercept=False).fit(mixing @ pairs.values.astype(float), target)
        np.testing.assert_allclose(weights, plain.coef_, rtol=1e-8)


def test_only_copies_of_training_photographs_teach(rated, pairs):
    values, ratings, split = rated
    grid = [Penalty(1.0, 0.0)]
    first = run_split(values, ratings, split, grid, SETTINGS, pairs)
    pairs.values[2:] += 1  # of photographs 7 (validation) and 12 (test)
    assert np.array_equal(
        first.predictions, run_split(values, ratings, split, grid, SETTINGS, pairs).predictions
    )
    pairs.values[1] += 1
    later = run_split(values, ratings, split, grid, SETTINGS, pairs)
    assert not np.array_equal(first.predictions, later.predictions)


def test_the_order_is_evaluated_on_copies_of_test_photographs(rated, pairs):
    values, ratings, split = rated
    trial = run_split(values, ratings, split, [Penalty(1.0, 0.0)], SETTINGS, pairs)
    assert trial.in_order in (0.0, 1.0)
    swapped = RankedPairs(pairs.values, pairs.worse.copy(), pairs.better.copy(), pairs.photograph)
    for seen in (0, 1):
        # What is taught stays as it is.
        swapped.better[seen], swapped.worse[seen] = pairs.better[seen], pairs.worse[seen]
    other = run_split(values, ratings, split, [Penalty(1.0, 0.0)], SETTINGS, swapped)
    assert other.in_order == 1 - trial.in_order
    nobody = RankedPairs(pairs.values, pairs.better, pairs.worse, np.full(3, -1))
    assert run_split(values, ratings, split, [Penalty(1.0, 0.0)], SETTINGS, nobody).in_order is None


def test_the_heavier_the_pairs_the_nearer_their_fall_is_to_the_step(rated, pairs):
    values, ratings, _ = rated
    off = []
    for weight in (0.01, 1.0, 1000.0):
        order = RankingParams(dataset=COPIES, weight=weight, margin=0.2)
        fitted = refit_all(
            values, ratings, Penalty(0.01, 0.0), RegressionParams(ranking=order), pairs
        )
        scores = fitted.predict(pairs.values)
        falls = (scores[pairs.worse] - scores[pairs.better]) / ratings.std()
        off.append(np.abs(falls + 0.2).max())
    assert off == sorted(off, reverse=True) and off[-1] < 0.01


@pytest.fixture
def copies_of_clive(monkeypatch: pytest.MonkeyPatch) -> None:
    # The entries of the package: those of a project depend on the current folder.
    entries = catalog._built_in()
    monkeypatch.setitem(entries, COPIES, entries[COPIES].model_copy(update={"shares": "clive"}))


@pytest.mark.usefixtures("copies_of_clive")
def test_a_fit_with_copies_puts_them_in_order_and_says_so(
    make_set: Callable[..., object], params: Params, changed: Callable[..., Params]
) -> None:
    def level_shows(made):
        for expert in made.values:
            made.values[expert][:] = np.repeat(made.values[expert][::3], 3, axis=0)
            made.values[expert][:, 0] -= [4 * row[3] for row in rows]

    rows = ladder_of(range(60))
    make_set()
    make_set(COPIES, count=len(rows), listed=rows, edit=level_shows)
    without = store.read_json(fitting.fit("clive", params))
    with_order = store.read_json(fitting.fit("clive", changed(params, ranking=ORDER)))
    assert without["variants"]["both"]["in_order"] is None
    assert without["regression"]["ranking"] is None
    assert with_order["regression"]["ranking"] == ORDER.model_dump()
    assert with_order["variants"]["both"]["in_order"] > 0.9


@pytest.fixture
def two(
    copies_of_clive: None, make_set: Callable[..., object], params: Params
) -> tuple[Params, Params]:
    """Parameters with and without the ranking term; two sets whose images have the same names."""
    make_set("clive")
    make_set("koniq10k", count=50)
    make_set(COPIES, count=45, listed=ladder_of(range(15)))
    both = params.model_copy(update={"datasets": ["clive", "koniq10k"]})
    ranking = both.regression.model_copy(update={"ranking": ORDER})
    return both.model_copy(update={"regression": ranking}), both


def test_a_dataset_without_copies_of_its_own_is_fitted_without_them(
    two: tuple[Params, Params],
) -> None:
    ranked, plain = two
    line = "fitted without the ranking term: demo_mixed holds copies of clive"
    for dataset, owns in (("clive", True), ("koniq10k", False)):
        path = fitting.fit(dataset, ranked)
        found, predictions = store.read_json(path), layout.companion(path, "predictions.csv")
        first = predictions.read_bytes()
        assert (line in found["warnings"]) != owns
        assert (found["regression"]["ranking"] is not None) == owns
        assert (found["variants"]["both"]["in_order"] is not None) == owns
        plain_path = fitting.fit(dataset, plain)
        assert store.read_json(plain_path)["warnings"] == []
        assert (predictions.read_bytes() == first) != owns


@pytest.mark.parametrize("kept", [False, True])
def test_across_datasets_only_the_owner_learns_from_the_copies(
    two: tuple[Params, Params], kept: bool
) -> None:
    def rows(params: Params) -> dict[str, list[str]]:
        for dataset in params.datasets if kept else []:
            fitting.fit(dataset, params)
        lines = cross_dataset.evaluate_across(params).read_text().splitlines()[1:]
        return {name: [line for line in lines if line.startswith(name)] for name in params.datasets}

    ranked, plain = rows(two[0]), rows(two[1])
    assert ranked["clive"] != plain["clive"]
    assert ranked["koniq10k"] == plain["koniq10k"]


def test_an_owner_without_a_copy_is_refused(
    two: tuple[Params, Params], make_set: Callable[..., object]
) -> None:
    make_set(COPIES, count=6, listed=ladder_of(range(90, 92)))
    with pytest.raises(BadInputError, match="demo_mixed has no copy of a photograph of clive"):
        fitting.fit("clive", two[0])


def test_only_the_owner_reads_the_copies_and_depends_on_the_term(
    two: tuple[Params, Params],
) -> None:
    for dataset, owns in (("clive", True), ("koniq10k", False)):
        reads = stages.STAGES["fit"].reads(two[0], dataset)
        assert (layout.features(COPIES, "quality") in reads) == owns
        told = [stages.stage_parameters(params, "fit", dataset) for params in two]
        assert (told[0] == told[1]) != owns


def test_an_elastic_net_has_no_order():
    with pytest.raises(ValueError, match="only supported with model ridge"):
        RegressionParams(model="elasticnet", ranking=ORDER)
