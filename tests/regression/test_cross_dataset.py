"""Train on one set, test on another."""

import csv

import numpy as np
import pytest
from scipy import stats

from reiqa import layout
from reiqa.errors import BadInputError
from reiqa.features import cache
from reiqa.regression import evaluation, regressor
from reiqa.regression.cross_dataset import evaluate_across
from reiqa.regression.fitting import fit, regressor_path


@pytest.fixture
def pair(make_set, params):
    sets = {"clive": make_set("clive", count=60), "koniq10k": make_set("koniq10k", count=50)}
    return sets, params.model_copy(update={"datasets": ["clive", "koniq10k"]})


def table() -> list[dict[str, str]]:
    with layout.CROSS.open() as stream:
        return list(csv.DictReader(stream))


def test_every_ordered_pair_and_variant_has_a_row(pair):
    evaluate_across(pair[1])
    found = [(row["train"], row["test"], row["variant"]) for row in table()]
    assert found == [
        (train, test, variant)
        for train, test in (("clive", "koniq10k"), ("koniq10k", "clive"))
        for variant in ("content", "quality", "both")
    ]


def test_a_row_is_what_the_kept_regressor_gives_on_the_other_set(pair):
    sets, settings = pair
    fit("clive", settings)
    evaluate_across(settings)
    other = sets["koniq10k"]
    both = np.hstack([other.values["content"], other.values["quality"]])
    predicted = regressor.load_regressor(regressor_path("clive"), "both").predict(both)
    row = table()[2]
    assert float(row["srcc"]) == pytest.approx(
        stats.spearmanr(predicted, other.ratings).statistic, abs=1e-5
    )
    assert row["n"] == "50"


def test_only_the_pairs_of_the_slides_carry_their_value(pair):
    evaluate_across(pair[1])
    marked = {
        (row["train"], row["test"], row["variant"]): row for row in table() if row["paper_srcc"]
    }
    assert {place: row["paper_srcc"] for place, row in marked.items()} == {
        ("clive", "koniq10k", "both"): "0.769",
        ("koniq10k", "clive", "both"): "0.791",
    }
    for row in marked.values():
        expected = float(row["srcc"]) - float(row["paper_srcc"])
        assert float(row["difference"]) == pytest.approx(expected, abs=1e-5)


def test_the_table_is_the_same_with_and_without_what_fit_kept(pair):
    evaluate_across(pair[1])
    alone = layout.CROSS.read_bytes()
    for name in pair[0]:
        fit(name, pair[1])
    evaluate_across(pair[1])
    assert layout.CROSS.read_bytes() == alone


def test_what_fit_kept_spares_a_second_fitting(pair, monkeypatch):
    for name in pair[0]:
        fit(name, pair[1])
    monkeypatch.setattr(evaluation, "cross_validate", None)
    evaluate_across(pair[1])


def test_a_regressor_of_other_parameters_is_not_used(pair, changed):
    for name in pair[0]:
        fit(name, pair[1])
    settings = changed(pair[1], alphas=(1e5, 1e6, 2))
    evaluate_across(settings)
    found = [row["srcc"] for row in table()]
    for name in pair[0]:
        regressor_path(name).unlink()
    evaluate_across(settings)
    assert [row["srcc"] for row in table()] == found


def test_ratings_of_another_scale_change_no_correlation(make_set, params):
    settings = params.model_copy(update={"datasets": ["clive", "koniq10k"]})
    make_set("clive")
    make_set("koniq10k", count=50)
    evaluate_across(settings)
    before = table()[:3]

    def edit(made):
        made.ratings[:] = made.ratings / 1000 + 7

    make_set("koniq10k", count=50, edit=edit)
    evaluate_across(settings)
    for old, new in zip(before, table()[:3], strict=True):
        assert (new["srcc"], new["krcc"]) == (old["srcc"], old["krcc"])
        assert float(new["plcc"]) == pytest.approx(float(old["plcc"]), abs=1e-3)
        assert float(new["rmse"]) == pytest.approx(float(old["rmse"]) / 1000, rel=1e-2)


def rewrite(dataset: str, expert: str, **changes: object) -> None:
    path = layout.features(dataset, expert)
    cache.write_features(path, cache.FeatureTable(**{**vars(cache.read_features(path)), **changes}))


def test_references_that_both_sets_hold_are_counted(pair):
    digests = list(cache.read_features(layout.features("clive", "content")).digests)
    others = list(cache.read_features(layout.features("koniq10k", "content")).digests)
    rewrite("koniq10k", "content", digests=[*digests[:3], *others[3:]])
    evaluate_across(pair[1])
    assert {row["shared_references"] for row in table()} == {"3"}


def test_sets_encoded_with_other_weights_are_a_clear_line(pair):
    recipe = cache.FeatureRecipe({"quality": "not the same weights"}, {"scales": [1.0]})
    rewrite("koniq10k", "quality", recipe=recipe)
    with pytest.raises(BadInputError, match="not the same weights"):
        evaluate_across(pair[1])
