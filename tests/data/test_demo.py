"""The embedded sets: whole, deterministic, apart from each other, and never taken for human."""

import io
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tables import rows_of

from reiqa import catalog, layout, params
from reiqa.data import demo, fetch, index
from reiqa.errors import WorkFailedError
from reiqa.params import read_yaml
from reiqa.scoring.bundle import load_bundle
from reiqa.store import file_digest

COPIES = sorted(demo.FOLDER.glob("*.jpg"))
TITLES = {name: list(photographs) for name, photographs in demo.PHOTOGRAPHS.items()}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One photograph a set, small, and every twentieth distortion: the code, not the minutes."""
    single, mixed = demo._single, demo._mixed
    monkeypatch.setattr(demo, "_single", lambda place: single(place)[::5])
    monkeypatch.setattr(demo, "_mixed", lambda title: mixed(title)[::5])
    monkeypatch.setattr(demo, "LONGER_SIDE", 264)
    for name, titles in TITLES.items():
        first = {titles[0]: demo.PHOTOGRAPHS[name][titles[0]]}
        monkeypatch.setitem(demo.PHOTOGRAPHS, name, first)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", ["demo", "demo_mixed"])
def test_a_rated_set_is_images_and_ratings(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        demo.make_demo(name, folder)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)

    rows = rows_of(first / "ratings.csv")
    assert {row["dis_img_path"] for row in rows} == {str(p) for p in files if p.suffix == ".png"}
    assert rows[0]["score"] == "100.0000" and rows[0]["dis_img_path"] == rows[0]["ref_img_path"]
    original = np.asarray(Image.open(first / rows[0]["dis_img_path"]))
    for row in rows[1:]:
        distorted = np.asarray(Image.open(first / row["dis_img_path"]))
        assert distorted.shape == original.shape and max(original.shape) <= demo.LONGER_SIDE
        assert 0 <= float(row["score"]) < 100
        assert not np.array_equal(distorted, original)


def test_the_plan_covers_its_types_and_fits_the_catalog() -> None:
    plans = [demo._single(place) for place, _ in enumerate(TITLES["demo"])]
    drawn = Counter(step for plan in plans for item in plan for step in item.steps)
    assert set(drawn) == {(kind, level) for kind in demo.STRUCTURAL for level in range(1, 6)}
    assert len({*drawn.values()}) == 1, "each level of each type as often as any other"
    mixed = [demo._mixed(title) for title in TITLES["demo_mixed"]]
    assert all(item.steps[0][0] != item.steps[1][0] for plan in mixed for item in plan)
    for name, all_plans in (("demo", plans), ("demo_mixed", mixed)):
        images = sum(map(len, all_plans)) + len(TITLES[name])
        assert images == catalog.get_entry(name).images
        assert len(TITLES[name]) == catalog.get_entry(name).references


def test_no_photograph_is_both_learned_from_and_tested_on() -> None:
    everything = [title for titles in TITLES.values() for title in titles]
    assert len(everything) == len(set(everything))
    assert {path.stem for path in COPIES} <= set(everything), "each copy has a role"
    assert len(TITLES["demo"]) >= 20 and len(TITLES["demo_mixed"]) >= 12


def test_the_weights_that_the_demo_starts_from_have_seen_none_of_its_photographs() -> None:
    tree = read_yaml(Path(params.__file__).parent / "presets" / "demo.yaml")
    bundle = load_bundle("lite")
    for expert in ("content", "quality"):
        file = bundle.folder / f"{expert}.safetensors"
        assert layout.checkpoint(tree[expert]["init"]).samefile(file)
    made = bundle.manifest.provenance
    assert made["content"]["card"]["source"] == "package", "ImageNet's weights"
    learnt = {Path(name).parts[2] for name in made["quality"]["card"]["inputs"]}
    assert learnt == {"biq2021_photos", "cid22"}


def test_the_copies_are_those_of_the_list() -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (demo.FOLDER / "SHA256SUMS").read_text().splitlines()
    )
    assert listed == {path.name: file_digest(path) for path in COPIES}
    assert sum(path.stat().st_size for path in COPIES) < 5_000_000
    assert all(max(Image.open(path).size) <= 512 for path in COPIES)


@pytest.mark.mirror
def test_the_script_makes_the_copies_from_the_originals(mirror: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/demo_photographs.py"))
    originals = script["find_photographs"](mirror / "pristine")
    assert set(originals) == {path.stem for path in COPIES}
    for name in ("gb82_dog", "kodak_04"):
        stream = io.BytesIO()
        script["shrink"](originals[name]).save(stream, "JPEG", **script["SAVED"])
        assert stream.getvalue() == (demo.FOLDER / f"{name}.jpg").read_bytes()


@pytest.mark.usefixtures("few")
def test_the_index_of_a_demo_set_says_that_its_ratings_are_a_proxy(project: Path) -> None:
    fetch.fetch("demo")
    made = index.read_index(index.build_index("demo", allow_missing=True))
    assert made.header["proxy"] is True
    assert made.header["measure"] == "MS-SSIM x 100"
    assert "not human" in made.header["note"]
    assert set(made.reference) == {TITLES["demo"][0]}
    assert made.level[0] == 0 and set(made.level[1:]) <= {1, 2, 3, 4, 5}


def test_the_photographs_to_pretrain_on_are_written_as_they_are(project: Path) -> None:
    corpus = TITLES["demo_corpus"]
    assert len(corpus) == catalog.get_entry("demo_corpus").images
    fetch.fetch("demo_corpus")
    rows = index.read_corpus(index.build_index("demo_corpus"))
    assert {(Path(row.image).stem, row.width, row.height) for row in rows} == {
        ("hubble_deep_field", 1000, 872),
        ("motorcycle_left", 741, 500),
        ("motorcycle_right", 741, 500),
        *((path.stem, *Image.open(path).size) for path in COPIES if path.stem in corpus),
    }
    assert layout.receipt("demo_corpus").exists()


def test_a_package_without_its_photograph_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> np.ndarray:
        raise FileNotFoundError("gone")

    monkeypatch.setitem(demo.PHOTOGRAPHS, "demo_corpus", {"moon": absent})
    with pytest.raises(WorkFailedError, match=r"moon: not found in the installed"):
        demo.make_demo("demo_corpus", tmp_path)
