"""A dataset by the protocol: what is written, and what bad input leads to."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from support.tables import rows_of

from reiqa import layout, store
from reiqa.data.index import read_index as read_index
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS
from reiqa.regression import regressor, splits
from reiqa.regression.fitting import fit, regressor_path

METRICS = ("srcc", "plcc", "plcc_raw", "krcc", "rmse")


def result_of(path: Path) -> dict:
    return json.loads(path.read_text())


def beside(dataset: str, ending: str) -> Path:
    return layout.result(dataset).with_name(f"{dataset}.{ending}")


def test_the_result_is_what_scikit_learn_gives_step_by_step(make_set, params):
    made = make_set("clive", count=80)
    result = result_of(fit("clive", params))
    both = np.hstack([made.values["content"], made.values["quality"]]).astype(np.float64)
    index = read_index(layout.index("clive"))
    settings = params.regression
    parts = splits.make_splits(index, "official", 3, settings.fractions, params.seed)
    for number, split in enumerate(parts):
        scaler = StandardScaler().fit(both[split.train])
        scores = []
        for alpha in np.geomspace(*settings.alphas[:2], settings.alphas[2]):
            model = Ridge(alpha).fit(scaler.transform(both[split.train]), made.ratings[split.train])
            predicted = model.predict(scaler.transform(both[split.val]))
            found = stats.spearmanr(predicted, made.ratings[split.val]).statistic
            scores.append((round(found, 9), alpha, model))
        _, alpha, model = max(scores, key=lambda score: score[:2])
        variant = result["variants"]["both"]
        assert variant["alpha"]["splits"][number] == pytest.approx(alpha)
        predicted = model.predict(scaler.transform(both[split.test]))
        expected = stats.spearmanr(predicted, made.ratings[split.test]).statistic
        assert variant["srcc"]["splits"][number] == pytest.approx(expected, abs=1e-6)


def test_the_metrics_follow_from_the_predictions_that_are_kept(make_set, params):
    make_set("clive", count=80)
    result = result_of(fit("clive", params))
    rows = rows_of(beside("clive", "predictions.csv"))
    for variant in VARIANTS:
        for number in range(3):
            these = [row for row in rows if row["split"] == str(number)]
            mos = np.array([float(row["mos"]) for row in these])
            predicted = np.array([float(row[variant]) for row in these])
            section = result["variants"][variant]
            for name, metric in (("plcc_raw", stats.pearsonr), ("krcc", stats.kendalltau)):
                assert section[name]["splits"][number] == pytest.approx(
                    metric(predicted, mos).statistic, abs=1e-5
                )
        assert section["srcc"]["median"] == pytest.approx(np.median(section["srcc"]["splits"]))
    for row in rows:
        assert float(row["residual"]) == pytest.approx(
            float(row["both"]) - float(row["mos"]), abs=1e-3
        )


def test_the_two_shares_and_one_constant_per_split_make_up_each_prediction(make_set, params):
    make_set("clive", count=80)
    fit("clive", params)
    constants = {}
    for row in rows_of(beside("clive", "predictions.csv")):
        shares = float(row["content_share"]) + float(row["quality_share"])
        constants.setdefault(row["split"], []).append(float(row["both"]) - shares)
    assert len(constants) == 3
    for values in constants.values():
        np.testing.assert_allclose(values, values[0], atol=1e-5)


def test_both_experts_beat_each_where_ratings_follow_both(make_set, params):
    make_set("clive", count=120)
    result = result_of(fit("clive", params))
    medians = {name: section["srcc"]["median"] for name, section in result["variants"].items()}
    assert medians["both"] > max(medians["content"], medians["quality"])
    for expert in ("content", "quality"):
        test = result["tests"][f"both-{expert}"]
        assert test["difference"] > 0
        assert test["low"] > 0
        assert 0 < test["wilcoxon_p"] <= 0.25


def test_the_same_input_gives_the_same_bytes_at_any_number_of_threads(make_set, params):
    make_set("clive", count=60)
    written = []
    for threads in (1, 3):
        settings = params.model_copy(
            update={"compute": params.compute.model_copy(update={"threads": threads})}
        )
        fit("clive", settings)
        files = sorted(layout.result("clive").parent.iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert {path.partition(".")[2] for path in written[0]} == {
        "json",
        "predictions.csv",
        "splits.csv",
        "alphas.csv",
        "regressor.json",
        "regressor.safetensors",
    }


def test_the_kept_regressor_scores_images_on_the_rating_scale(make_set, params):
    made = make_set("clive", count=80, noise=0.01)
    result = result_of(fit("clive", params))
    path = regressor_path("clive")
    assert result["files"]["regressor_sha256"] == store.file_digest(path)
    both = np.hstack([made.values["content"], made.values["quality"]])
    kept = regressor.load_regressor(path, "both")
    chosen = result["variants"]["both"]["alpha"]
    assert kept.penalty.alpha == pytest.approx(sorted(chosen["splits"])[1])
    assert chosen["kept"] == pytest.approx(kept.penalty.alpha)
    np.testing.assert_allclose(kept.predict(both), made.ratings, atol=1)
    card = regressor.read_card(path)
    assert card["rating"] == {"low": 0, "high": 100, "direction": "higher is better"}


def test_the_alpha_path_holds_the_mean_validation_srcc(make_set, params):
    make_set("clive", count=80)
    fit("clive", params)
    rows = rows_of(beside("clive", "alphas.csv"))
    np.testing.assert_allclose(
        [float(row["alpha"]) for row in rows], np.geomspace(1e-2, 1e4, 7), rtol=1e-5
    )
    assert max(float(row["both"]) for row in rows) > 0.9


def test_distortions_and_levels_of_a_synthetic_dataset_are_reported(make_set, params):
    make_set("live", count=96, references=12)
    result = result_of(fit("live", params))
    assert result["references"] == 12
    assert "by reference" in result["protocol"]["text"]
    parts = result["variants"]["both"]["by_distortion"]
    assert set(parts) == {"jpeg", "blur"}
    assert set(result["variants"]["both"]["by_level"]) == {"1", "2", "3"}
    index = read_index(layout.index("live"))
    kind = dict(zip(index.images, index.distortion, strict=True))
    rows = [
        row for row in rows_of(beside("live", "predictions.csv")) if kind[row["image"]] == "jpeg"
    ]
    expected = stats.spearmanr(
        [float(row["both"]) for row in rows], [float(row["mos"]) for row in rows]
    ).statistic
    assert parts["jpeg"]["srcc"] == pytest.approx(expected, abs=1e-3)
    assert parts["jpeg"]["n"] == len({row["image"] for row in rows})


def test_published_numbers_are_shown_next_to_results(make_set, params):
    make_set("clive")
    variants = result_of(fit("clive", params))["variants"]
    assert variants["both"]["paper"] == {"srcc": 0.84, "plcc": 0.854}
    assert variants["quality"]["paper"] is None


def test_an_official_split_is_followed_and_has_no_spread(make_set, params):
    parts = ["train"] * 40 + ["val"] * 8 + ["test"] * 12
    make_set("koniq10k", official=parts)
    result = result_of(fit("koniq10k", params))
    assert result["protocol"]["used"] == "official"
    section = result["variants"]["both"]["srcc"]
    assert section["std"] is None
    assert section["low"] <= section["median"] <= section["high"]
    assert result["tests"]["both-content"]["corrected_t_p"] is None
    assert len(rows_of(beside("koniq10k", "predictions.csv"))) == 12


def test_splits_of_ones_own_are_followed(make_set, params, tmp_path):
    made = make_set("clive", count=30)
    lines = ["image,split_0"]
    lines += [
        f"{image},{'test' if n < 8 else 'val' if n < 14 else 'train'}"
        for n, image in enumerate(made.images)
    ]
    own = tmp_path / "own.csv"
    own.write_text("\n".join(lines) + "\n")
    result = result_of(fit("clive", params, own))
    assert result["protocol"]["used"] == "given"
    rows = rows_of(beside("clive", "predictions.csv"))
    assert [row["image"] for row in rows] == made.images[:8]


def test_the_elastic_net_goes_through_the_same_protocol(make_set, params, changed):
    make_set("clive", count=60, width=5)
    settings = changed(params, model="elasticnet", l1_ratios=[0.2, 0.8], splits=2)
    result = result_of(fit("clive", settings))
    both = result["variants"]["both"]
    assert both["srcc"]["median"] > 0.9
    assert set(both["l1_ratio"]["splits"]) <= {0.2, 0.8}
    assert len(rows_of(beside("clive", "alphas.csv"))) == 14


# Bad input: a clear line, or a sound result with a warning.


def finite(tree: object) -> bool:
    """No NaN and no infinity anywhere: strict JSON would not have been written otherwise."""
    return "NaN" not in json.dumps(tree) and "Infinity" not in json.dumps(tree)


def test_a_constant_feature_changes_nothing_else(make_set, params):
    def edit(made):
        made.values["quality"][:, 3] = 7

    make_set("clive", edit=edit)
    result = result_of(fit("clive", params))
    assert result["variants"]["both"]["srcc"]["median"] > 0.5
    assert result["warnings"] == []


def test_an_expert_whose_features_are_all_constant_gives_nulls_and_a_warning(make_set, params):
    def edit(made):
        made.values["quality"][:] = 7

    make_set("clive", edit=edit)
    result = result_of(fit("clive", params))
    quality = result["variants"]["quality"]
    assert all(quality[name]["median"] is None for name in ("srcc", "plcc", "plcc_raw", "krcc"))
    assert quality["rmse"]["median"] is not None
    assert any("no correlation exists" in line and "quality" in line for line in result["warnings"])
    assert result["variants"]["content"]["srcc"]["median"] > 0.3
    assert finite(result)


def test_a_rating_that_is_nan_is_dropped_and_counted(make_set, params):
    def edit(made):
        made.ratings[[3, 17]] = np.nan

    make_set("clive", edit=edit)
    result = result_of(fit("clive", params))
    assert (result["n"], result["unrated"]) == (58, 2)
    names = {row["image"] for row in rows_of(beside("clive", "predictions.csv"))}
    assert not names & {"Images/0003.png", "Images/0017.png"}


def test_an_image_that_failed_in_one_expert_is_dropped_for_all_and_named(make_set, params):
    make_set("clive", errors={"quality": {5: "0005.png: damaged or truncated"}})
    result = result_of(fit("clive", params))
    assert result["n"] == 59
    assert result["errors"] == [
        {"image": "Images/0005.png", "expert": "quality", "error": "0005.png: damaged or truncated"}
    ]
    assert result["variants"]["content"]["srcc"]["median"] is not None


def test_fewer_references_than_parts_are_a_clear_line(make_set, params):
    make_set("live", count=40, references=2)
    with pytest.raises(BadInputError, match="2 references are too few"):
        fit("live", params)


def test_a_set_of_twelve_images_gives_a_result_that_says_how_little_it_rests_on(make_set, params):
    make_set("clive", count=12)
    result = result_of(fit("clive", params))
    assert any("validation images" in line for line in result["warnings"])
    assert finite(result)


def test_two_rows_of_one_image_are_a_clear_line(make_set, params):
    def edit(made):
        made.images[4] = made.images[3]

    make_set("clive", edit=edit)
    with pytest.raises(BadInputError, match=r"clive\.csv: Images/0003\.png is listed twice"):
        fit("clive", params)


def test_a_cache_that_is_cut_off_is_a_clear_line(make_set, params):
    make_set("clive")
    path = layout.features("clive", "quality")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadInputError, match=r"quality\.h5: .*Delete it"):
        fit("clive", params)
    assert not layout.result("clive").exists()


def test_features_of_another_index_are_a_clear_line(make_set, params):
    make_set("clive", count=60)
    kept = layout.features("clive", "quality").read_bytes()
    make_set("clive", count=59)
    layout.features("clive", "quality").write_bytes(kept)
    with pytest.raises(BadInputError, match=r"quality\.h5: made from a different index"):
        fit("clive", params)


def test_features_of_the_other_expert_are_a_clear_line(make_set, params):
    make_set("clive")
    layout.features("clive", "quality").write_bytes(
        layout.features("clive", "content").read_bytes()
    )
    with pytest.raises(BadInputError, match="features of content, not of quality"):
        fit("clive", params)


def test_equal_ratings_are_a_clear_line(make_set, params):
    def edit(made):
        made.ratings[:] = 50

    make_set("clive", edit=edit)
    with pytest.raises(BadInputError, match="distinct ratings"):
        fit("clive", params)


def test_nothing_usable_is_a_clear_line(make_set, params):
    def edit(made):
        made.ratings[:] = np.nan

    make_set("clive", edit=edit)
    with pytest.raises(BadInputError, match="none of 60 images"):
        fit("clive", params)


def test_penalties_too_small_to_solve_for_are_a_clear_line_or_passed_over(
    make_set, params, changed
):
    def edit(made):
        made.values["quality"][:, 1] = made.values["quality"][:, 0]

    make_set("clive", edit=edit)
    result = result_of(fit("clive", changed(params, alphas=(1e-30, 1e3, 4))))
    assert finite(result)
    assert result["variants"]["quality"]["srcc"]["median"] is not None
