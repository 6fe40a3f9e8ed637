"""The preset `bundle`: the experts of a bundle on other ratings, with the bundle's own features."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from skimage import data

from reiqa import catalog, layout, pipeline, presets, store
from reiqa.cli import project as verbs
from reiqa.errors import BadInputError
from reiqa.features.cache import read_features
from reiqa.params import EXPERTS, Params
from reiqa.scoring import Scorer
from reiqa.scoring.bundle import SHIPPED, Bundle, load_bundle
from reiqa.scoring.head import read_head

LITE = SHIPPED / "lite"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with four rated photographs of different shapes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REIQA_MIRROR", raising=False)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (height, width) in enumerate([(96, 128), (128, 97), (65, 200), (96, 128)]):
        crop = data.coffee()[40 * number :][:height, 50 * number :][:, :width]
        Image.fromarray(crop).save(folder / f"{number}.jpg", quality=20 + 20 * number)
    rows = "".join(f"{number}.jpg,{1 + number}\n" for number in range(4))
    Path("ratings.csv").write_text(f"image,mos\n{rows}")
    catalog.PROJECT_FILE.write_text(
        "datasets:\n  own: {folder: photos, ratings: {file: ratings.csv}}\n"
    )
    return folder


def written() -> Params:
    return pipeline.load_params(layout.PARAMS)


def changed_bundle(tmp_path: Path, **sections: object) -> Bundle:
    """A copy of the shipped bundle with other sections in its manifest."""
    folder = tmp_path / "bundles" / "other"
    shutil.copytree(LITE, folder)
    tree = json.loads((LITE / "bundle.json").read_text())
    del tree["checksum"]
    for path, value in sections.items():
        *above, last = path.split("__")
        section = tree
        for key in above:
            section = section[key]
        section[last] = value
    store.write_json(folder / "bundle.json", store.add_checksum(tree))
    return load_bundle(folder)


def test_it_takes_the_recipe_of_the_bundle_and_the_datasets_of_the_project(own: Path) -> None:
    verbs.preset("bundle")
    params, recipe = written(), load_bundle("lite").manifest.recipe
    assert (params.preset, params.datasets) == ("bundle", ["own"])
    assert tuple(params.features.scales) == recipe.scales
    assert params.features.pooling == recipe.pooling
    assert params.features.max_pixels == recipe.max_pixels
    assert params.features.precision == recipe.precision == "float32"
    for expert in EXPERTS:
        section = params.expert(expert)
        assert (section.source, section.file) == ("import", f"bundles/lite/{expert}.safetensors")
        assert layout.checkpoint(str(section.file)) == LITE / f"{expert}.safetensors"
    assert params.corpora() == [] and params.degraded_datasets() == []


def test_it_fits_as_the_bundle_was_fitted_but_few_images_by_ridge(own: Path) -> None:
    verbs.preset("bundle")
    made = load_bundle("lite").manifest.provenance["regressor"]["parameters"]["regression"]
    found = written().regression.model_dump(mode="json")
    for key in ("alphas", "target", "clip"):
        assert found[key] == made[key], key
    assert (made["model"], found["model"]) == ("kernel_ridge", "ridge")
    verbs.preset("bundle", dataset=["own", "biq2021"], force=True)
    assert written().regression.model == "kernel_ridge"
    assert written().regression.components == made["components"]


def test_the_ranking_term_is_kept_only_with_copies_of_the_dataset(own: Path) -> None:
    lite = load_bundle("lite")
    for names, kept in ((["own"], False), (["biq2021"], True), (["own", "biq2021"], True)):
        tree = yaml.safe_load(presets.bundle_preset(lite, names))
        assert (tree["regression"]["ranking"] is not None) is kept, names
        params = Params.model_validate(tree)
        assert params.feature_datasets() == [*names, *["biq2021_degraded"][:kept]]


def test_scores_from_these_features_are_those_of_the_scorer(own: Path) -> None:
    verbs.preset("bundle")
    layout.PARAMS.write_text(layout.PARAMS.read_text().replace("device: auto", "device: cpu"))
    params = written()
    # Neither the experts nor the index were made before.
    pipeline.features("own", params)
    bundle = load_bundle("lite")
    head = read_head(bundle)
    tables = {expert: read_features(layout.features("own", expert)) for expert in EXPERTS}
    outputs = {name: head.expert_output(name, table.values) for name, table in tables.items()}
    scorer = Scorer(bundle)
    expected = [float(scorer(own / name)) for name in tables["content"].images]
    assert np.ptp(expected) > 5, "the photographs differ"
    np.testing.assert_allclose(head.points(outputs), expected, atol=2e-3)
    for expert, table in tables.items():
        # The imported model is the bundle's, byte by byte, so that the new bundle says so too.
        assert table.recipe.weights[expert] == bundle.manifest.parts[f"{expert}.safetensors"]
        card = store.read_json(layout.companion(layout.model(expert), "json"))
        assert card["licence"] == bundle.manifest.experts[expert].licence
        assert card["bundle"] == "lite"


def test_a_bundle_of_the_project_is_named_by_its_folder(own: Path, tmp_path: Path) -> None:
    bundle = changed_bundle(tmp_path, recipe__scales=[1.0], recipe__max_pixels=100_000)
    verbs.preset("bundle", bundle="bundles/other", dataset=["own"])
    params = written()
    assert params.features.scales == [1.0] and params.features.max_pixels == 100_000
    assert params.content.file == "bundles/other/content.safetensors"
    assert layout.checkpoint(str(params.content.file)).samefile(bundle.part("content.safetensors"))


def test_another_size_of_the_bundles_images_is_told(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_bundle(tmp_path, recipe__resize=512)
    verbs.preset("bundle", bundle="bundles/other")
    said = capsys.readouterr().err
    assert "own: its images keep their size, but lite was fitted at 512 pixels" in said
    assert "add resize: 512 to own in datasets.yaml" in said
    catalog.PROJECT_FILE.write_text(
        "datasets:\n  own: {folder: photos, resize: 512, ratings: {file: ratings.csv}}\n"
    )
    verbs.preset("bundle", bundle="bundles/other")
    assert "512" not in capsys.readouterr().err


def test_what_it_cannot_use_is_refused_in_one_line(own: Path, tmp_path: Path) -> None:
    refused = [
        ({"bundle": "hf://me/mine"}, r"hf download me/mine --local-dir bundles/mine, and pass"),
        ({"bundle": "none"}, r"^none: bundle not found"),
        ({"dataset": ["nothing"]}, r"nothing: not a rated dataset"),
        ({"dataset": ["kodak"]}, r"kodak: not a rated dataset"),
    ]
    for options, says in refused:
        with pytest.raises(BadInputError, match=says) as refusal:
            verbs.preset("bundle", **options)
        assert "\n" not in str(refusal.value) and not layout.PARAMS.exists()
    with pytest.raises(BadInputError, match="are for: reiqa preset bundle"):
        verbs.preset("demo", bundle="lite")
    changed_bundle(tmp_path, provenance__regressor__parameters__regression={"model": "forest"})
    with pytest.raises(BadInputError, match="unknown parameters of the regressor"):
        verbs.preset("bundle", bundle="bundles/other")
    catalog.PROJECT_FILE.unlink()
    with pytest.raises(BadInputError, match="no dataset: add one with reiqa datasets add"):
        verbs.preset("bundle")


def test_it_overwrites_what_nobody_changed(own: Path) -> None:
    verbs.preset("demo")
    verbs.preset("bundle")
    verbs.preset("bundle")
    layout.PARAMS.write_text(layout.PARAMS.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(BadInputError, match="--force"):
        verbs.preset("bundle")
    verbs.preset("bundle", force=True)
    assert written().seed == 0
