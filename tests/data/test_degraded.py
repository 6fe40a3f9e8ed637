"""Sets of copies: whole, the same every time, and worse with every level."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reiqa import catalog, layout, params
from reiqa.data import degraded, fetch, index
from reiqa.distortions import resolve
from reiqa.errors import BadInputError
from reiqa.params import BankParams, load_params

TYPES = ("gaussian_blur", "jpeg", "white_noise")
ENTRIES = [name for name, e in catalog.load_catalog().items() if e.made_by == "degraded"]
EACH = 1 + len(TYPES) * degraded.LEVELS


def photographs(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / "Images" / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(number)
        coarse = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(path, quality=95)
    return folder


def test_degraded_copies_are_an_original_and_every_level_of_every_type(tmp_path: Path) -> None:
    source, made = photographs(tmp_path / "raw", 3), tmp_path / "made"
    made.mkdir()
    assert degraded.make_degraded(source, TYPES, 2, made)["photographs"] == 2
    rows = list(csv.DictReader((made / "ratings.csv").open()))
    assert len(rows) == 2 * EACH == len(list((made / "images").iterdir()))
    for row in rows:
        level = 5 - int(row["score"])
        assert (
            (level == 0) == (row["dis_type"] == "") == (row["dis_img_path"] == row["ref_img_path"])
        )
        assert level == 0 or row["dis_img_path"].endswith(f"_{row['dis_type']}_l{level}.png")


def test_copies_leave_the_original_step_by_step(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    degraded.make_degraded(photographs(tmp_path / "raw", 1), TYPES, 1, made)
    for kind in TYPES:
        pixels = [np.asarray(Image.open(made / "images" / "00.png"), dtype=float)]
        for level in range(1, 6):
            path = made / "images" / f"00_{kind}_l{level}.png"
            pixels.append(np.asarray(Image.open(path), dtype=float))
        away = [float(((copy - pixels[0]) ** 2).mean()) for copy in pixels]
        assert away == sorted(away) and len(set(away)) == 6, kind


def test_which_photographs_and_every_byte_follow_from_the_source(tmp_path: Path) -> None:
    source = photographs(tmp_path / "raw", 4)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        degraded.make_degraded(source, TYPES, 2, folder)
    first, second = (
        {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert first == second


def test_too_few_photographs_are_refused_by_the_folders_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"raw: found 1 photographs, need 2"):
        degraded.make_degraded(photographs(tmp_path / "raw", 1), TYPES, 2, tmp_path)


def test_the_bytes_of_a_copy_depend_on_no_other_copy(tmp_path: Path) -> None:
    source = photographs(tmp_path / "raw", 3)
    more, fewer = tmp_path / "more", tmp_path / "fewer"
    for folder, types, count in ((more, "published", 3), (fewer, ["white_noise"], 1)):
        folder.mkdir()
        degraded.make_degraded(source, types, count, folder)
    shared = list((fewer / "images").iterdir())
    assert len(shared) == 1 + degraded.LEVELS
    for path in shared:
        assert path.read_bytes() == (more / "images" / path.name).read_bytes()


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="unknown distortion glare"):
        degraded.make_degraded(photographs(tmp_path / "raw", 1), ["glare"], 1, tmp_path)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_counts_its_images_by_photographs_types_and_levels(name: str) -> None:
    entry = catalog.get_entry(name)
    types = resolve(BankParams(types=entry.types if entry.types == "published" else [*entry.types]))
    assert entry.images == entry.references * (1 + len(types) * degraded.LEVELS)
    assert entry.types == "published" or tuple(entry.types) == types, "in the order of the bank"


def test_no_photograph_that_evaluates_is_trained_on_by_the_shipped_preset() -> None:
    preset = load_params(Path(params.__file__).parent / "presets" / "biq2021.yaml")
    evaluating = {"kodak_degraded", "gb82_degraded"}
    assert not {catalog.get_entry(name).shares for name in evaluating} & {*preset.corpora()}
    assert not evaluating & {*preset.feature_datasets()}


def test_types_and_number_of_photographs_make_a_fetch_stale() -> None:
    entry = catalog.get_entry("kodak_degraded")
    for update in ({"types": ("jpeg",)}, {"references": 3}, {"shares": "gb82"}):
        assert entry.model_copy(update=update).facts("fetch") != entry.facts("fetch"), update
    assert entry.model_copy(update={"note": "other"}).facts("fetch") == entry.facts("fetch")


def test_the_set_is_fetched_and_indexed_like_any_other(project, change_catalog) -> None:
    change_catalog(
        catalog.get_entry("biq2021_degraded").model_copy(
            update={"images": EACH, "references": 1, "types": TYPES}
        )
    )
    change_catalog(catalog.get_entry("biq2021").model_copy(update={"images": 1}))
    mirror = project / "mirror"
    photographs(mirror / "biq2021", 1)
    fetch.fetch("biq2021_degraded", mirror)
    table = index.read_index(index.build_index("biq2021_degraded"))
    assert len(table.images) == EACH and set(table.reference) == {"00"}
    assert sorted(set(zip(table.distortion, table.level, strict=True)))[0] == ("", 0)
    assert table.header["proxy"] is True
    assert layout.receipt("biq2021").exists()


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    source = photographs(tmp_path / "raw", 2)
    first = sorted(source.rglob("*.*"))[0]
    (source / "in").mkdir()
    (source / "in" / f"{first.stem}.PNG").write_bytes(first.read_bytes())
    with pytest.raises(BadInputError, match=r"raw: .*\.PNG.* have one name"):
        degraded.make_degraded(source, TYPES, 1, tmp_path)
