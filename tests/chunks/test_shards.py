"""Shards: what goes in comes out, damage is noticed, and the same input gives the same bytes."""

import io
import json
import pickle
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from typer.testing import CliRunner

from reiqa import cli, images, layout, pipeline, store
from reiqa.chunks import shards
from reiqa.chunks.recipe import draw_recipe
from reiqa.distortions import resolve
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.store import hdf5


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=60, deadline=None)
def test_encoding_loses_nothing(pixels):
    assert np.array_equal(shards.decode(shards.encode(pixels)), pixels.transpose(2, 0, 1))


def read_all(paths: list[Path]) -> list:
    reader = shards.ShardReader(paths)
    return [reader.window(index) for index in range(len(reader))]


def test_a_reader_gives_each_photograph_its_windows_and_recipes(garden, parameters):
    parameters = parameters.model_copy(
        update={"chunks": parameters.chunks.model_copy(update={"windows_per_image": 2})}
    )
    path = shards.write_shard(garden, 0, 1, parameters)
    assert path == layout.shard(garden, 0)
    found = read_all([path])
    assert len(found) == 14 and shards.verify_shard(path) == 14
    types = resolve(parameters.bank)
    for number, (window, recipe) in enumerate(found):
        photograph = Path(layout.raw(garden)) / f"flower{number // 2}.png"
        pixels = images.read_rgb(photograph)
        assert recipe == draw_recipe(
            parameters.chunks, types, 7, garden, photograph.name, number % 2, *pixels.shape[:2]
        )
        frame = recipe.frame
        region = pixels[
            frame.top : frame.top + recipe.height, frame.left : frame.left + recipe.width
        ]
        assert np.array_equal(window.numpy(), region.transpose(2, 0, 1))


def test_a_small_photograph_is_given_reflected(garden, parameters):
    path = layout.raw(garden) / "flower0.png"
    pixels = images.read_rgb(path)[:61, :90]
    Image.fromarray(pixels).save(path)
    reindex(garden)
    window, recipe = shards.ShardReader([shards.write_shard(garden, 0, 7, parameters)]).window(0)
    side = recipe.plan.content
    assert window.shape == (3, side, side)
    mirrored = np.pad(pixels, ((0, side - 61), (0, side - 90), (0, 0)), mode="reflect")
    assert np.array_equal(window.numpy(), mirrored.transpose(2, 0, 1))


def reindex(corpus: str) -> None:
    """Bring the digests of the index up to date."""
    index = layout.index(corpus)
    head, *rows = index.read_text().splitlines()
    fresh = []
    for row in rows:
        name, width, height, _ = row.split(",")
        digest = store.file_digest(layout.raw(corpus) / name)[:16]
        fresh.append(f"{name},{width},{height},{digest}")
    index.write_text("\n".join([head, *fresh]) + "\n")


def test_shards_share_the_corpus_out_in_order(garden, parameters):
    whole = read_all([shards.write_shard(garden, 0, 1, parameters)])
    of = parameters.chunks.shard_count(7)
    assert of == 3
    # Made in any order, as parallel jobs do.
    paths = {number: shards.write_shard(garden, number, of, parameters) for number in (2, 0, 1)}
    parts = read_all([paths[number] for number in range(of)])
    assert [recipe for _, recipe in parts] == [recipe for _, recipe in whole]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(parts, whole, strict=True))


@pytest.mark.parametrize(("photographs", "wanted"), [(0, 0), (1, 1), (3, 1), (4, 2), (7, 3)])
def test_the_count_of_shards(photographs, wanted, parameters):
    assert parameters.chunks.shard_count(photographs) == wanted


def test_writing_again_gives_the_same_bytes(garden, parameters):
    first = shards.write_shard(garden, 0, 1, parameters).read_bytes()
    time.sleep(1.1)  # HDF5 would record whole seconds
    assert shards.write_shard(garden, 0, 1, parameters).read_bytes() == first


def test_a_shard_describes_itself(garden, parameters):
    path = shards.write_shard(garden, 1, 3, parameters)
    with h5py.File(path) as file:
        assert file.attrs["format"].decode() == shards.FORMAT
        assert b"running sum" in file.attrs["encoding"]
        assert (file.attrs["corpus"], file.attrs["shard"]) == (garden.encode(), b"1/3")
        made_with = json.loads(file.attrs["parameters"])
        assert made_with["chunks"]["patch"] == 32 and made_with["seed"] == 7
        dataset = file["windows/00000000"]
        assert dataset.chunks == dataset.shape, "one window is one read"
        index = layout.index(garden).read_text()
        assert dataset.attrs["source"].decode()[:16] in index
        assert json.loads(dataset.attrs["recipe"])["image"] == "flower2.png"


def test_sources_that_cannot_be_used_are_named_and_left_out(garden, parameters, capsys):
    folder = layout.raw(garden)
    whole = (folder / "flower1.png").read_bytes()
    (folder / "flower1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "flower2.png").write_bytes(b"no image at all")
    (folder / "flower3.png").unlink()
    Image.fromarray(np.zeros((40, 300, 3), np.uint8)).save(folder / "flower4.png")
    reindex_present(garden)
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(folder / "flower5.png")

    path = shards.write_shard(garden, 0, 1, parameters)

    assert [recipe.image for _, recipe in read_all([path])] == ["flower0.png", "flower6.png"]
    said = capsys.readouterr().err.splitlines()
    with h5py.File(path) as file:
        skipped = json.loads(file.attrs["skipped"])
        assert (file.attrs["windows"], file.attrs["photographs"]) == (2, 2)
    assert list(skipped) == [f"flower{number}.png" for number in range(1, 6)]
    for (name, reason), line, word in zip(
        skipped.items(),
        said,
        ["truncated", "not an image", "no such", "too small", "changed"],
        strict=True,
    ):
        assert name in reason and word in reason and reason in line


def test_every_kind_of_image_is_stored_as_a_viewer_shows_it_or_left_out(garden, parameters, capsys):
    folder = layout.raw(garden)
    plain = Image.open(folder / "flower0.png").resize((300, 200))
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = Image.fromarray(np.tile(np.arange(250, dtype=np.uint8), (130, 80)))
    sixteen = Image.fromarray(np.full((200, 300), 40_000, np.uint16))
    kinds = {
        "flower0.png": lambda path: plain.convert("L").save(path),
        "flower1.png": lambda path: plain.convert("RGBA").save(path),
        "flower2.png": lambda path: plain.convert("P").save(path),
        "flower3.png": lambda path: sixteen.save(path),
        "flower4.png": lambda path: plain.convert("CMYK").save(path, "JPEG", exif=turned),
        "flower5.png": lambda path: wide.save(path),
        "flower6.png": lambda path: plain.resize((1, 1)).save(path),
    }
    for name, save in kinds.items():
        save(folder / name)
    reindex(garden)
    found = {
        recipe.image: (window, recipe)
        for window, recipe in read_all([shards.write_shard(garden, 0, 1, parameters)])
    }
    assert sorted(found) == sorted(kinds)[:6]
    assert "flower6.png: 1x1 pixels are too small" in capsys.readouterr().err
    sizes = [(recipe.frame.height, recipe.frame.width) for _, recipe in found.values()]
    assert sizes == [(200, 300)] * 4 + [(300, 200), (130, 20_000)]
    assert found["flower3.png"][0].unique().tolist() == [156]


@pytest.mark.mirror
@pytest.mark.parametrize("folder", ["BIQ2021/Images", "pristine/cid22", "pristine/kodak"])
def test_real_photographs_take_no_more_than_0_62_of_their_raw_size(folder, mirror):
    paths = sorted((mirror / folder).iterdir())
    stored = raw = 0
    for path in paths[:: max(1, len(paths) // 6)]:
        planes = shards.encode(images.read_rgb(path))
        with h5py.File(io.BytesIO(), "w") as file:
            dataset = shards._planes(file, "x", planes)
            stored += dataset.id.get_storage_size()
        raw += planes.size
    assert stored <= 0.62 * raw


def reindex_present(corpus: str) -> None:
    missing = [row for row in rows_of(corpus) if not (layout.raw(corpus) / row).exists()]
    for name in missing:
        (layout.raw(corpus) / name).touch()
    reindex(corpus)
    for name in missing:
        (layout.raw(corpus) / name).unlink()


def rows_of(corpus: str) -> list[str]:
    return [row.split(",")[0] for row in layout.index(corpus).read_text().splitlines()[1:]]


def test_what_a_kill_interrupts_leaves_no_file_and_spares_the_others(
    garden, parameters, monkeypatch
):
    done = shards.write_shard(garden, 0, 3, parameters)
    before = done.read_bytes()
    wanted = shards.write_shard(garden, 1, 3, parameters)
    bytes_wanted = wanted.read_bytes()
    wanted.unlink()

    stores, calls = shards._store, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        stores(*arguments)

    monkeypatch.setattr(shards, "_store", dies)
    with pytest.raises(KeyboardInterrupt):
        shards.write_shard(garden, 1, 3, parameters)
    assert [path.name for path in done.parent.iterdir()] == [done.name]
    monkeypatch.setattr(shards, "_store", stores)
    assert done.read_bytes() == before
    assert shards.write_shard(garden, 1, 3, parameters).read_bytes() == bytes_wanted


@pytest.fixture
def small_shard(garden, parameters) -> Path:
    """One window of a smaller photograph, so that each byte of its file can be tried."""
    path = layout.raw(garden) / "flower0.png"
    Image.fromarray(images.read_rgb(path)[:70, :70]).save(path)
    reindex(garden)
    return shards.write_shard(garden, 0, 7, parameters)


def test_a_changed_byte_is_noticed_or_harmless(small_shard, monkeypatch):
    # What the format itself notices, without the process that tries a file first.
    monkeypatch.setattr(hdf5, "find_fault", lambda path: "")
    whole = small_shard.read_bytes()
    window, recipe = shards.ShardReader([small_shard]).window(0)
    noticed = 0
    offsets = np.random.default_rng(0).integers(0, len(whole), 150)
    for offset in [*range(0, 100), *(int(offset) for offset in offsets)]:
        spoilt = bytearray(whole)
        spoilt[offset] ^= 0x41
        small_shard.write_bytes(bytes(spoilt))
        try:
            again, recipe_again = shards.ShardReader([small_shard]).window(0)
        except BadInputError as error:
            noticed += 1
            line = str(error)
            assert str(small_shard) in line and "reiqa chunks" in line and "\n" not in line
        else:
            assert torch.equal(again, window) and recipe_again == recipe
    assert noticed > 150


def test_a_shard_that_is_cut_off_is_refused_when_opened(small_shard):
    whole = small_shard.read_bytes()
    for keep in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        small_shard.write_bytes(whole[:keep])
        with pytest.raises(
            BadInputError, match=r"shard-00000\.h5: (damaged|corrupted) .* reiqa chunks"
        ):
            shards.ShardReader([small_shard])


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    spoilt = bytearray(path.read_bytes())
    spoilt[offset] ^= 1
    path.write_bytes(bytes(spoilt))


def sealed(corpus: str, number: int, of: int, parameters: Params) -> Path:
    """Write a shard as the verb does, its provenance beside it."""
    path = shards.write_shard(corpus, number, of, parameters)
    store.sign_sidecar(path, "chunks", f"{corpus}/{number:05d}", {}, {})
    return path


def pixels_of(path: Path) -> int:
    """Return the offset of a byte in the middle of the first window's pixels."""
    with h5py.File(path) as file:
        dataset = file["windows/00000000"].id
        chunk = dataset.get_chunk_info(0)
        return int(chunk.byte_offset + chunk.size // 2)


def test_a_changed_pixel_is_found_by_the_digest_of_the_shard(garden, parameters, monkeypatch):
    path = sealed(garden, 0, 3, parameters)
    monkeypatch.setattr(
        shards.ShardReader, "window", lambda *_: pytest.fail("no window need be read")
    )
    assert shards.verify_shard(path) == 2
    flip(path, pixels_of(path))
    message = r"^data/chunks/garden/shard-00000\.h5: corrupted .* --corpus garden --shard 00000$"
    with pytest.raises(BadInputError, match=message):
        shards.verify_shard(path)


def test_a_changed_pixel_is_found_without_provenance_too(garden, parameters):
    path = shards.write_shard(garden, 0, 3, parameters)
    assert shards.verify_shard(path) == 2
    flip(path, pixels_of(path))
    with pytest.raises(
        BadInputError, match=r"shard-00000\.h5: (damaged|corrupted) .* reiqa chunks --corpus"
    ):
        shards.verify_shard(path)


def test_the_verb_names_every_damaged_shard_and_still_checks_the_others(
    garden, parameters, monkeypatch
):
    monkeypatch.setattr(pipeline, "load_params", lambda _: parameters)
    items = [f"{garden}/{number:05d}" for number in range(3)]
    monkeypatch.setattr("reiqa.stages.shards", lambda *_: items)
    paths = [sealed(garden, number, 3, parameters) for number in range(3)]
    runner = CliRunner()
    done = runner.invoke(cli.app, ["chunks", "--verify"])
    assert done.exit_code == 0
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        "2 windows, verified", "2 windows, verified", "3 windows, verified",
    ]  # fmt: skip
    flip(paths[0], pixels_of(paths[0]))
    paths[1].unlink()
    spoilt = runner.invoke(cli.app, ["chunks", "--verify"])
    assert spoilt.stdout.startswith("data/chunks/garden/shard-00002.h5: 3 windows")
    assert isinstance(spoilt.exception, BadInputError)
    said = str(spoilt.exception)
    assert "shard-00000.h5: corrupted" in said and said.endswith("; also shard-00001.h5")
    one = runner.invoke(cli.app, ["chunks", "--verify", "--shard", "2/3"])
    assert one.exit_code == 0 and one.stdout.count("\n") == 1


def test_a_missing_shard_a_foreign_file_and_another_bank_are_named(
    small_shard, monkeypatch, tmp_path
):
    with pytest.raises(BadInputError, match=r"none\.h5: not found"):
        shards.ShardReader([tmp_path / "none.h5"])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(BadInputError, match=r"other\.h5: damaged"):
        shards.ShardReader([tmp_path / "other.h5"])
    monkeypatch.setattr("reiqa.distortions.VERSION", -1)
    with pytest.raises(BadInputError, match=r"bank version"):
        shards.ShardReader([small_shard])


@pytest.mark.parametrize(("number", "of"), [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(number, of, garden, parameters):
    with pytest.raises(BadInputError, match="numbers run from 0"):
        shards.write_shard(garden, number, of, parameters)


def test_a_bank_smaller_than_a_chunk_is_refused_before_anything_is_written(garden, parameters):
    bank = parameters.bank.model_copy(update={"types": list(resolve(parameters.bank)[:3])})
    with pytest.raises(BadInputError, match=r"chunks\.n_aug"):
        shards.write_shard(garden, 0, 1, parameters.model_copy(update={"bank": bank}))
    assert not layout.shard(garden, 0).exists()


class Windows(torch.utils.data.Dataset):
    """A reader as a data loader sees it."""

    def __init__(self, reader: shards.ShardReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> int:
        return int(self.reader.window(index)[0].sum())


def test_a_reader_made_before_the_fork_serves_every_worker(garden, parameters):
    reader = shards.ShardReader(
        [shards.write_shard(garden, number, 3, parameters) for number in range(3)]
    )
    sums = [int(window.sum()) for window, _ in map(reader.window, range(len(reader)))]
    loader = torch.utils.data.DataLoader(Windows(reader), batch_size=1, num_workers=2)
    assert [int(batch) for batch in loader] == sums
    assert [int(reader.window(index)[0].sum()) for index in range(len(reader))] == sums
    sent = pickle.loads(pickle.dumps(reader))
    assert int(sent.window(4)[0].sum()) == sums[4]


def test_a_reader_keeps_few_files_open(garden, parameters, monkeypatch):
    monkeypatch.setattr(shards, "_MAX_OPEN", 2)
    reader = shards.ShardReader(
        [shards.write_shard(garden, number, 7, parameters) for number in range(7)]
    )
    images_read = [reader.window(index)[1].image for index in (6, 0, 3, 6)]
    assert images_read == ["flower6.png", "flower0.png", "flower3.png", "flower6.png"]
    assert len(reader._open) == 2
    with pytest.raises(IndexError):
        reader.window(7)
