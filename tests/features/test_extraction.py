"""Features of images on disk: values, order, reuse, and what a bad image leads to."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import miniature
from torch import Tensor, nn

from reiqa import images, layout, pipeline, store, tensors
from reiqa.encoders import Encoder, save_encoder
from reiqa.encoders import load_encoder as load_encoder
from reiqa.errors import BadInputError
from reiqa.features import batching, cache, extraction
from reiqa.params import EXPERTS, Params
from reiqa.stages import stage_parameters

SIZES = [(40, 56), (56, 40), (40, 56), (33, 47), (40, 56), (64, 64), (40, 56)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small random encoder of each expert."""
    from reiqa.encoders import build_encoder

    folder = tmp_path_factory.mktemp("models")
    for seed, expert in enumerate(("content", "quality")):
        encoder = build_encoder("shufflenet_v2_x0_5", expert, seed=seed)
        save_encoder(encoder, folder / f"{expert}.safetensors", {})
    return {expert: folder / f"{expert}.safetensors" for expert in ("content", "quality")}


def noise(folder: Path, name: str, size: tuple[int, int], seed: int) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_index(names: list[str], dataset: str = "clive") -> None:
    lines = [f'# name: "{dataset}"', "image,mos,reference,split,distortion,level"]
    lines += [f"{name},{number},{name},,,0" for number, name in enumerate(names)]
    store.write_text(layout.index(dataset), "\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Path]) -> list[str]:
    """A dataset of seven images of four shapes, in a project folder that is entered."""
    monkeypatch.chdir(tmp_path)
    names = [f"Images/{number}.png" for number in range(len(SIZES))]
    for number, (name, size) in enumerate(zip(names, SIZES, strict=True)):
        noise(layout.raw("clive"), name, size, number)
    for expert, path in weights.items():
        target = layout.model(expert)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    write_index(names)
    return names


def parameters(**changes: Any) -> Params:
    features = {**miniature.TREE["features"], "batch": 3, **changes}
    return Params.model_validate({**miniature.TREE, "features": features})


def one_by_one(path: Path, expert: str, scales: list[float]) -> np.ndarray:
    """The plainest way to the same numbers."""
    encoder = load_encoder(layout.model(expert))
    image = tensors.to_tensor(images.read_rgb(path))[None]
    with torch.no_grad():
        parts = [encoder(image if scale == 1 else tensors.half(image)) for scale in scales]
    return torch.cat(parts, dim=1)[0].numpy()


@pytest.mark.parametrize("expert", ["content", "quality"])
def test_a_row_is_the_pooled_features_of_the_full_image_at_both_scales(project, expert):
    found = cache.read_features(extraction.extract("clive", expert, parameters()))
    assert list(found.images) == project
    for name, row in zip(project, found.values, strict=True):
        expected = one_by_one(layout.raw("clive") / name, expert, [1.0, 0.5])
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_batch_size_changes_neither_order_nor_values(project):
    by_size = []
    for batch in (1, 2, 5):
        settings = parameters(batch=batch)
        out = Path(f"batch-{batch}.h5")
        # Each in a work folder of its own, or the first would serve the others.
        by_size.append(cache.read_features(extraction.extract("clive", "quality", settings)))
        layout.features("clive", "quality").rename(out)
        (store.WORK / "features").rename(f"work-{batch}")
    for other in by_size[1:]:
        assert other.images == by_size[0].images
        np.testing.assert_allclose(other.values, by_size[0].values, atol=1e-5)


class Counting:
    """Counts decodes by path and images through the encoder by scale."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: Counter[str] = Counter()
        self.encoded: Counter[tuple[int, int]] = Counter()
        read, forward = images.read_rgb, Encoder.forward

        def counted_read(path: Path, *bounds: Any) -> np.ndarray:
            self.decoded[path.name] += 1
            return read(path, *bounds)

        def counted_forward(encoder: nn.Module, batch: Tensor) -> Tensor:
            self.encoded[tuple(batch.shape[-2:])] += len(batch)
            return forward(encoder, batch)

        monkeypatch.setattr(batching.images, "read_rgb", counted_read)
        monkeypatch.setattr(Encoder, "forward", counted_forward)


@pytest.fixture
def work(project: list[str], monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_each_image_is_decoded_once_and_encoded_once_a_scale(project, work):
    extraction.extract("clive", "quality", parameters())
    assert work.decoded == Counter(Path(name).name for name in project)
    expected: Counter[tuple[int, int]] = Counter()
    for height, width in SIZES:
        expected[(height, width)] += 1
        expected[(height // 2, width // 2)] += 1
    assert work.encoded == expected


def test_both_experts_in_one_pass_decode_each_image_once_and_give_the_same_caches(project, work):
    one_by_one = [extraction.extract("clive", expert, parameters()) for expert in EXPERTS]
    expected = [path.read_bytes() for path in one_by_one]
    for path in one_by_one:
        path.unlink()
    (store.WORK / "features").rename("gone")
    work.decoded.clear()
    extraction.extract_rows("clive", EXPERTS, parameters())
    assert work.decoded == Counter(Path(name).name for name in project)
    assert [extraction.extract("clive", e, parameters()).read_bytes() for e in EXPERTS] == expected
    assert work.decoded.total() == len(project)


def test_what_one_expert_has_already_is_not_encoded_again_for_the_other(project, work):
    extraction.extract("clive", "quality", parameters())
    done = work.encoded.total()
    extraction.extract_rows("clive", EXPERTS, parameters())
    assert work.encoded.total() == 2 * done


def test_images_added_to_an_index_are_computed_and_the_rest_reused(project, work):
    before = cache.read_features(extraction.extract("clive", "quality", parameters()))
    noise(layout.raw("clive"), "Images/extra.png", (40, 56), 99)
    work.decoded.clear()
    write_index(sorted([*project, "Images/extra.png"]))
    after = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert work.decoded == Counter(["extra.png"])
    for name, row in zip(before.images, before.values, strict=True):
        assert np.array_equal(after.values[list(after.images).index(name)], row)


def test_the_cache_itself_serves_where_the_work_folder_is_gone(project, work):
    first = extraction.extract("clive", "quality", parameters()).read_bytes()
    (store.WORK / "features").rename("gone")
    work.decoded.clear()
    assert extraction.extract("clive", "quality", parameters()).read_bytes() == first
    assert not work.decoded


def test_other_weights_or_preprocessing_are_never_mixed(project, work, weights):
    extraction.extract("clive", "quality", parameters())
    work.decoded.clear()
    extraction.extract("clive", "quality", parameters(scales=[1.0]))
    assert len(work.decoded) == len(project)
    layout.model("quality").write_bytes(weights["content"].read_bytes())
    work.decoded.clear()
    found = cache.read_features(extraction.extract("clive", "quality", parameters(scales=[1.0])))
    assert len(work.decoded) == len(project)
    expected = one_by_one(layout.raw("clive") / project[0], "quality", [1.0])
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5)


def test_a_killed_run_loses_at_most_what_it_was_at(project, work, monkeypatch):
    batches_done = []
    append = extraction.RowStore.append

    def append_then_die(rows, digests, *others):
        append(rows, digests, *others)
        batches_done.append(len(digests))
        if len(batches_done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(extraction.RowStore, "append", append_then_die)
    with pytest.raises(KeyboardInterrupt):
        extraction.extract("clive", "quality", parameters())
    assert not layout.features("clive", "quality").exists()
    # A kill may also tear the last record.
    (torn,) = (store.WORK / "features").rglob("*.rows")
    with torn.open("ab") as stream:
        stream.write(b"half a record")
    monkeypatch.setattr(extraction.RowStore, "append", append)
    work.decoded.clear()
    resumed = extraction.extract("clive", "quality", parameters()).read_bytes()
    assert work.decoded.total() == len(project) - sum(batches_done)
    (store.WORK / "features").rename("gone")
    layout.features("clive", "quality").unlink()
    assert extraction.extract("clive", "quality", parameters()).read_bytes() == resumed


def test_a_record_that_rotted_is_computed_again(project, work):
    path = extraction.extract("clive", "quality", parameters())
    whole = path.read_bytes()
    path.unlink()
    (rows,) = (store.WORK / "features").rglob("*.rows")
    data = bytearray(rows.read_bytes())
    data[200] ^= 1
    rows.write_bytes(data)
    work.decoded.clear()
    repaired = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert work.decoded.total() == 1
    path.write_bytes(whole)
    np.testing.assert_allclose(repaired.values, cache.read_features(path).values, atol=1e-5)


@pytest.fixture
def damaged(project: list[str]) -> str:
    path = layout.raw("clive") / project[2]
    path.write_bytes(path.read_bytes()[:200])
    return project[2]


def test_an_unreadable_image_gets_an_error_row_and_the_rest_their_features(project, damaged):
    found = cache.read_features(extraction.extract("clive", "quality", parameters()))
    for name, row, error in zip(found.images, found.values, found.errors, strict=True):
        assert np.isnan(row).all() == (name == damaged)
        assert bool(error) == (name == damaged)
    assert damaged in next(filter(None, found.errors))


def test_a_missing_image_gets_an_error_row(project):
    (layout.raw("clive") / project[0]).unlink()
    found = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert "no such file" in found.errors[0]
    assert not any(found.errors[1:])


def test_strict_makes_an_unreadable_image_fatal(project, damaged):
    with pytest.raises(BadInputError, match=Path(damaged).name):
        extraction.extract("clive", "quality", parameters(), strict=True)


@pytest.fixture
def sealed(project: list[str]) -> list[str]:
    """The project as the verbs see it: with params.yaml and the provenance of what is there."""
    settings = parameters()
    Path("params.yaml").write_text(json.dumps(settings.model_dump(mode="json")))
    path = layout.index("clive")
    store.sign_sidecar(path, "index", "clive", stage_parameters(settings, "index", "clive"), {})
    for expert in EXPERTS:
        path = layout.model(expert)
        store.sign_sidecar(path, "model", expert, stage_parameters(settings, "model", expert), {})
    return project


def test_a_strict_run_rejects_error_rows_and_force_replaces_them(sealed):
    bad = layout.raw("clive") / sealed[2]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:200])
    pipeline.features("clive", pipeline.load_params())
    with pytest.raises(BadInputError, match=bad.name):
        pipeline.features("clive", pipeline.load_params(), strict=True)
    pipeline.features("clive", pipeline.load_params())
    assert any(cache.read_features(layout.features("clive", "quality")).errors)
    bad.write_bytes(whole)
    pipeline.features("clive", pipeline.load_params(), force=True)
    pipeline.features("clive", pipeline.load_params(), strict=True)
    assert not any(cache.read_features(layout.features("clive", "quality")).errors)


def test_an_image_over_the_bound_is_scaled_down_and_reported(project, capsys):
    noise(layout.raw("clive"), "Images/big.png", (400, 500), 5)
    write_index([*project, "Images/big.png"])
    found = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert found.shrunk[-1] == pytest.approx(np.sqrt(65_536 / 200_000), rel=1e-3)
    assert (found.shrunk[:-1] == 1).all()
    assert "scaled down" in capsys.readouterr().err


def wide_jpeg(path: Path, **options: Any) -> Path:
    """A photograph of 16 million pixels, or 48 MB, in a file of half a megabyte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(3).integers(0, 256, size=(25, 100), dtype=np.uint8)
    wide = Image.fromarray(coarse).resize((8_000, 2_000), Image.Resampling.BICUBIC)
    wide.save(path, quality=30, **options)
    return path


@pytest.fixture
def bytes_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each image as it leaves the decoder."""
    counted: list[int] = []
    read_rgb = images.read_rgb

    def counting(*asked: Any) -> np.ndarray:
        pixels = read_rgb(*asked)
        counted.append(pixels.nbytes)
        return pixels

    monkeypatch.setattr(images, "read_rgb", counting)
    return counted


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_huge_jpeg_no_more_is_decoded_than_the_bound_allows(tmp_path, bytes_decoded, turned):
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    path = wide_jpeg(tmp_path / "wide.jpg", exif=exif)
    viewing = batching.ResizePolicy(resize=None, max_pixels=300_000, batch=1)
    pixels, shrunk = viewing.load(path)
    assert bytes_decoded == [3 * 2_000 * 500]
    assert shrunk == pytest.approx(np.sqrt(300_000 / 16_000_000))
    with Image.open(path) as reduced:
        reduced.draft(None, (2_000, 500))
        upright = reduced.convert("RGB").rotate(-90 if turned else 0, expand=True)
    size = (pixels.shape[1], pixels.shape[0])
    assert np.array_equal(pixels, np.asarray(upright.resize(size, Image.Resampling.BICUBIC)))


def test_a_jpeg_within_the_bound_is_decoded_whole_before_it_is_resized(tmp_path, bytes_decoded):
    path = wide_jpeg(tmp_path / "wide.jpg")
    batching.ResizePolicy(resize=250, max_pixels=16_000_000, batch=1).load(path)
    assert bytes_decoded == [3 * 8_000 * 2_000]


def test_what_cannot_be_decoded_within_the_bound_gets_an_error_row(project, bytes_decoded):
    side = int(np.sqrt(batching.MAX_DECODE_FACTOR * 65_536)) + 1
    noise(layout.raw("clive"), "Images/big.png", (side, side), 5)
    write_index([*project, "Images/big.png"])
    found = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert "524,288" in found.errors[-1] and not any(found.errors[:-1])
    assert max(bytes_decoded) < 3 * 64 * 65


def test_no_batch_holds_more_pixels_than_the_bound(project, work):
    for number in range(4):
        noise(layout.raw("clive"), f"Images/large-{number}.png", (200, 200), number)
    names = [f"Images/large-{number}.png" for number in range(4)]
    write_index(names)
    sizes = []
    stacked = extraction.to_batch

    def measured(pixels, processor):
        sizes.append(sum(image.shape[0] * image.shape[1] for image in pixels))
        return stacked(pixels, processor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "to_batch", measured)
        extraction.extract("clive", "quality", parameters())
    assert max(sizes) <= 65_536


def test_the_resize_of_the_catalog_is_applied(project, work):
    noise(layout.raw("spaq"), "TestImage/1.png", (700, 600), 1)
    write_index(["TestImage/1.png"], "spaq")
    settings = parameters(max_pixels=1_000_000, scales=[1.0])
    found = cache.read_features(extraction.extract("spaq", "quality", settings))
    assert work.encoded == Counter({(597, 512): 1})
    assert found.recipe.preprocessing["resize"] == 512
    assert found.shrunk[0] == 1


def test_the_same_input_gives_the_same_bytes(project):
    first = extraction.extract("clive", "content", parameters()).read_bytes()
    (store.WORK / "features").rename("gone")
    layout.features("clive", "content").unlink()
    assert extraction.extract("clive", "content", parameters()).read_bytes() == first


def test_a_folder_gives_both_experts_side_by_side(project):
    out = Path("folder.h5")
    extraction.extract_folder(layout.raw("clive"), ["content", "quality"], parameters(), out)
    found = cache.read_features(out)
    assert list(found.images) == project
    assert list(found.recipe.weights) == ["content", "quality"]
    width = found.values.shape[1] // 2
    for start, expert in ((0, "content"), (width, "quality")):
        expected = one_by_one(layout.raw("clive") / project[3], expert, [1.0, 0.5])
        np.testing.assert_allclose(found.values[3, start : start + width], expected, atol=1e-5)


def test_a_folder_of_that_suffix_is_no_image(project, tmp_path):
    photographs = tmp_path / "photographs"
    (photographs / "empty.png").mkdir(parents=True)
    (photographs / "png").write_text("no suffix")
    shutil.copy(layout.raw("clive") / project[0], photographs / "a.bmp")
    extraction.extract_folder(
        photographs, ["quality"], parameters(), Path("folder.h5"), strict=True
    )
    assert list(cache.read_features(Path("folder.h5")).images) == ["a.bmp"]


def test_features_of_a_folder_replace_no_other_file(project, tmp_path):
    out, source = tmp_path / "notes.txt", layout.raw("clive")
    out.write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt: has other content"):
        pipeline.folder_features(source, out, parameters(), ["quality"])
    with pytest.raises(BadInputError, match="is a folder"):
        pipeline.folder_features(source, tmp_path, parameters(), ["quality"])
    assert out.read_text() == "mine" and not (store.WORK / "features").exists()
    # The file behind a link is written, and a cache is written again.
    link = tmp_path / "link.h5"
    link.symlink_to("real.h5")
    for _ in range(2):
        pipeline.folder_features(source, link, parameters(), ["quality"])
        assert link.is_symlink() and list(cache.read_features(link).images) == project


def test_a_folder_without_images_is_refused(project, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no image"):
        extraction.extract_folder(tmp_path / "empty", ["quality"], parameters(), Path("out.h5"))
    with pytest.raises(BadInputError, match="no such folder"):
        extraction.extract_folder(tmp_path / "absent", ["quality"], parameters(), Path("out.h5"))


def test_an_encoder_that_gives_no_numbers_makes_error_rows(project, monkeypatch):
    forward: Callable[..., Tensor] = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, batch: forward(self, batch) * np.nan)
    found = cache.read_features(extraction.extract("clive", "quality", parameters()))
    assert all("not finite" in error for error in found.errors)


def test_features_in_bf16_are_rows_of_their_own(project, capsys):
    exact = cache.read_features(extraction.extract("clive", "quality", parameters()))
    path = extraction.extract("clive", "quality", parameters(precision="bf16"))
    rounded = cache.read_features(path)
    assert exact.recipe.preprocessing["precision"] == "float32"
    assert rounded.recipe.preprocessing["precision"] == "bf16"
    difference = np.linalg.norm(rounded.values - exact.values) / np.linalg.norm(exact.values)
    assert 1e-4 < difference < 0.05
    back = cache.read_features(extraction.extract("clive", "quality", parameters()))
    np.testing.assert_array_equal(back.values, exact.values)
