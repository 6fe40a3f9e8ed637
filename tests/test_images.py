"""Files of every kind: shown as a viewer would, or refused in one line that names them."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from skimage import data, transform

from reiqa import images, tensors
from reiqa.errors import BadInputError

Write = Callable[[Path], None]


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 10, columns * 7, 255 - rows * 5], -1).astype(np.uint8)


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def test_a_colour_photograph_is_read_to_the_byte(tmp_path: Path) -> None:
    path = save(Image.fromarray(gradient()), tmp_path / "a.png")
    assert np.array_equal(images.read_rgb(path), gradient())
    tensor = tensors.to_tensor(images.read_rgb(path))
    assert tensor.shape == (3, 24, 32) and tensor.dtype == torch.float32
    assert torch.equal(tensors.to_uint8(tensor).permute(1, 2, 0), torch.from_numpy(gradient()))


def test_one_channel_becomes_three_alike(tmp_path: Path) -> None:
    path = save(Image.fromarray(gradient()[..., 0]), tmp_path / "grey.png")
    pixels = images.read_rgb(path)
    assert np.array_equal(pixels, np.repeat(gradient()[..., :1], 3, -1))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = save(Image.fromarray(gradient()[..., 1] > 100), tmp_path / "bits.png")
    assert set(np.unique(images.read_rgb(path))) == {0, 255}


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    layered = np.dstack([gradient(), np.zeros((24, 32), np.uint8)])
    layered[:12, :, 3] = 255
    pixels = images.read_rgb(save(Image.fromarray(layered), tmp_path / "rgba.png"))
    assert np.array_equal(pixels[:12], gradient()[:12])
    assert (pixels[12:] == 255).all()


def test_grey_with_transparency_shows_white(tmp_path: Path) -> None:
    grey = np.dstack([gradient()[..., 0], np.zeros((24, 32), np.uint8)])
    assert (images.read_rgb(save(Image.fromarray(grey, "LA"), tmp_path / "la.png")) == 255).all()


def test_a_palette_is_looked_up_and_its_transparent_entry_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 128, 0, 0, 0, 255])
    plain = images.read_rgb(save(picture, tmp_path / "palette.png"))
    assert plain.reshape(-1, 3).tolist() == [[255, 0, 0], [0, 128, 0], [0, 0, 255], [0, 0, 255]]
    clear = images.read_rgb(save(picture, tmp_path / "clear.png", transparency=1))
    assert clear[0, 1].tolist() == [255, 255, 255]


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    wide = np.array([[0, 128, 129, 32768, 65535]], np.uint16)
    pixels = images.read_rgb(save(Image.fromarray(wide), tmp_path / "wide.png"))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    wide = np.full((4, 4), 200, np.uint16)
    assert images.read_rgb(save(Image.fromarray(wide), tmp_path / "dark.png")).max() <= 1


@pytest.mark.parametrize("dark", [False, True])
def test_integers_of_32_bits_are_taken_for_16(dark: bool, tmp_path: Path) -> None:
    wide = np.array([[0, 200, 200 if dark else 65535]], np.int32)
    pixels = images.read_rgb(save(Image.fromarray(wide), tmp_path / "wide.tif"))
    assert pixels[0, :, 0].tolist() == [0, 1, 1 if dark else 255]


def test_floats_from_0_to_1_are_shown_from_black_to_white(tmp_path: Path) -> None:
    greys = np.array([[0, 0.5, 0.2509, 1]], np.float32)
    pixels = images.read_rgb(save(Image.fromarray(greys), tmp_path / "float.tif"))
    assert pixels[0].tolist() == [[0] * 3, [128] * 3, [64] * 3, [255] * 3]


@pytest.mark.parametrize(
    "greys",
    [[0, np.nan], [0.5, np.inf], [0.5, 1.5], [0, 255], [-0.1, 1], [0, 65536], [-1, 9]],
)
def test_greys_of_an_unknown_range_are_refused(greys: list[float], tmp_path: Path) -> None:
    kind = np.float32 if isinstance(greys[-1] + greys[0], float) or 255 in greys else np.int32
    path = save(Image.fromarray(np.array([greys], kind)), tmp_path / "wild.tif")
    with pytest.raises(BadInputError, match=r"wild\.tif: grey values .* save it with 8 or 16 bits"):
        images.read_rgb(path)


def test_cmyk_is_turned_to_rgb(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    path = save(Image.fromarray(flat).convert("CMYK"), tmp_path / "print.jpg", quality=100)
    assert np.abs(images.read_rgb(path).astype(int) - flat).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(Image.fromarray(gradient()), tmp_path / "turned.png", exif=exif)
    stored = gradient()
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(stored),
    }[orientation]
    assert np.array_equal(images.read_rgb(path), upright)
    assert images.read_size(path) == upright.shape[:2]


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (1, 1), (9, 8, 7)), tmp_path / "dot.png")
    assert images.read_rgb(path).tolist() == [[[9, 8, 7]]]
    assert tensors.half(tensors.to_tensor(images.read_rgb(path))[None]).shape == (1, 3, 1, 1)


def test_twenty_thousand_pixels_wide_is_read(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (20_000, 3), "olive"), tmp_path / "wide.png")
    assert images.read_size(path) == (3, 20_000)
    assert images.read_rgb(path).shape == (3, 20_000, 3)


def test_one_bound_on_pixels_holds_and_no_lower_one(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "huge.ppm"
    path.write_bytes(b"P6 20000 20000 255\n")
    assert images.read_size(path) == (20_000, 20_000)
    for width in (20_001, 40_001, 900_000):
        path.write_bytes(b"P6 %d 20000 255\n" % width)
        for read in (images.read_size, images.read_rgb):
            with pytest.raises(
                BadInputError, match=r"huge\.ppm: .* is over 400 million pixels; downscale"
            ):
                read(path)
    assert not recwarn.list


@pytest.mark.slow
def test_more_pixels_than_pillow_reads_by_itself_are_read(tmp_path: Path) -> None:
    # 181 million, of one bit each to be gentle: Pillow's own bound is 179 million.
    Image.new("1", (20_000, 9_050), 1).save(tmp_path / "wide.png")
    assert images.read_rgb(tmp_path / "wide.png")[-1, -1].tolist() == [255] * 3


def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert images.read_rgb(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


def coded(form: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


def jpeg() -> bytes:
    return coded("JPEG")


def claimed(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose pixels are missing."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", size), (b"IDAT", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"this is not a picture\n",
    "cut.jpg": jpeg()[: len(jpeg()) // 2],
    "header.jpg": jpeg()[:20],
    "claims.png": claimed(10, 10),
    "zero.png": claimed(0, 10),
    "bomb.png": claimed(100_000, 100_000),
    "page.html": b"<html><body>404</body></html>",
}
if features.check("avif"):
    # Its reader has an error of its own kind.
    BROKEN["overwritten.avif"] = coded("AVIF").partition(b"mdat")[0] + b"mdat" + bytes(2000)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(BadInputError) as refused:
        images.read_rgb(path)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


KINDS = {
    "canon.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "raw file; develop it"),
    "nikon.nef": (b"MM\0*\0\0\0\x08" + bytes(99), "raw file; develop it"),
    "renamed.jpg": (b"FUJIFILMCCD-RAW 0201" + bytes(99), "raw file; develop it"),
    "canon.cr3": (b"\0\0\0\x18ftypcrx " + bytes(99), "raw file; develop it"),
    "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC.* convert it"),
    "new.jxl": (b"\xff\x0a" + bytes(99), "JPEG XL; convert it"),
    "boxed.jxl": (b"\0\0\0\x0cJXL \r\n" + bytes(99), "JPEG XL; convert it"),
    "logo.svg": (b'<?xml version="1.0"?>\n<!-- a logo -->\n<svg width="9">', "SVG.* convert it"),
    "film.jpg": (b"\0\0\0\x14ftypqt  " + bytes(99), "a video; extract"),
    "page.jpg": (b"<!DOCTYPE html><html>404</html>", "web page.* download it again"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_known_kind_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    content, says = KINDS[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (images.read_rgb, images.read_size):
        with pytest.raises(BadInputError, match=rf"{name}: not an image in a .*{says}"):
            read(path)


def test_a_raw_file_that_pillow_would_read_as_tiff_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "camera.dng"
    Image.fromarray(gradient()).save(path, "TIFF")
    with pytest.raises(BadInputError, match="raw file"):
        images.read_rgb(path)
    assert images.read_rgb(path.rename(tmp_path / "scan.tif")).shape == (24, 32, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [-2, -40, 1500])
def test_an_image_is_complete_if_and_only_if_it_can_be_read(
    form: str, kept: int, tmp_path: Path
) -> None:
    def refusal(read: Callable[[Path], object]) -> str:
        try:
            read(path)
        except BadInputError as error:
            return str(error)
        return ""

    path = tmp_path / "photograph"
    for content in (coded(form), coded(form)[:kept], coded(form)[:kept] + bytes(64)):
        path.write_bytes(content)
        assert images.read_size(path) == (64, 64)
        assert refusal(images.check_complete) == refusal(images.read_rgb)
    path.write_bytes(coded("JPEG")[:-2])
    assert "no end of the JPEG, as after an interrupted copy" in refusal(images.check_complete)


def test_the_end_of_a_preview_in_exif_is_not_that_of_the_image(tmp_path: Path) -> None:
    preview = b"Exif\0\0" + jpeg()
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    path = tmp_path / "photograph.jpg"
    for kept in (None, -40, 1500):
        path.write_bytes(jpeg()[:2] + segment + jpeg()[2:][:kept])
        assert images.read_size(path) == (64, 64)
        if kept is None:
            images.check_complete(path)
            continue
        with pytest.raises(BadInputError, match="no end of the JPEG"):
            images.check_complete(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_end_of_an_image_is_found_without_reading_it(form: str) -> None:
    class Counted(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    is_ended = images._IS_ENDED[form]
    file = Counted(coded(form))
    assert is_ended(file) and file.count <= 12
    assert is_ended(Counted(coded(form) + bytes(64))) and not is_ended(Counted(coded(form)[:-12]))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(BadInputError, match=path.name):
            images.read_rgb(path)
        with pytest.raises(BadInputError, match=path.name):
            images.read_size(path)


def test_a_tiff_whose_offsets_are_of_another_kind_of_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kinds.tif"
    Image.new("L", (12, 9)).save(path)
    offsets, long, rational = 273, 4, 5
    whole = path.read_bytes()
    damaged = whole.replace(
        struct.pack("<HH", offsets, long), struct.pack("<HH", offsets, rational)
    )
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.raises(BadInputError, match=r"kinds\.tif: damaged"):
        images.read_rgb(path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(1, 12_000))
def test_damage_anywhere_never_ends_in_anything_but_a_picture_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, length: int
) -> None:
    damaged = bytearray(jpeg())
    damaged[at % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(bytes(damaged[:length]))
    try:
        assert images.read_rgb(path).ndim == 3
    except BadInputError as refused:
        assert "damaged.jpg" in str(refused)


def test_half_is_the_antialiased_bicubic_half() -> None:
    photo = data.chelsea()[:200, :300]
    ours = tensors.half(tensors.to_tensor(photo)[None])[0].permute(1, 2, 0).numpy()
    pillow = Image.fromarray(photo).resize((150, 100), Image.Resampling.BICUBIC)
    # Pillow rounds to 8 bits between its two passes.
    assert np.abs(ours * 255 - np.asarray(pillow)).max() <= 1.6
    local = transform.downscale_local_mean(photo / 255, (2, 2, 1))
    assert np.abs(ours - local).mean() < 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_reflection_is_numpys(height: int, width: int, rows: int, columns: int) -> None:
    pixels = np.arange(height * width, dtype=np.float32).reshape(height, width)
    grown = tensors.reflect(torch.from_numpy(pixels)[None, None], rows, columns)[0, 0].numpy()
    down, right = max(0, rows - height), max(0, columns - width)
    edge = "reflect" if min(height, width) > 1 else "symmetric"
    if 1 in (height, width) and height != width:
        expected = np.pad(
            np.pad(pixels, ((0, down), (0, 0)), "reflect" if height > 1 else "edge"),
            ((0, 0), (0, right)),
            "reflect" if width > 1 else "edge",
        )
    else:
        expected = np.pad(pixels, ((0, down), (0, right)), edge)
    assert np.array_equal(grown, expected)


def test_an_image_in_memory_whose_greys_have_no_known_range_is_refused_in_one_line():
    with pytest.raises(BadInputError, match="image in memory"):
        images.to_rgb(Image.fromarray(np.full((4, 4), 1e6, dtype=np.float32)))
