"""Colour profiles, orientation and everything else in a file that is not its pixels."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile
from support import icc

from reiqa import images
from reiqa.errors import BadInputError
from reiqa.features.plan import Viewing
from reiqa.images import metadata


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours, ``(H, W, 3)`` uint8."""
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 5, columns * 4, 255 - 2 * rows - 2 * columns]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """The conversion from its definition: linear light, primaries, sRGB's curve."""
    to_xyz = np.array(icc.ADOBE_RGB).T
    srgb = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061],
                     [0.01392, 0.09708, 0.71410]])  # fmt: skip
    linear = (pixels / 255) ** icc.GAMMA @ to_xyz.T @ np.linalg.inv(srgb).T
    linear = linear.clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curved


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_a_profile_is_converted_to_srgb(tmp_path: Path, suffix: str) -> None:
    path, plain = tmp_path / f"tagged.{suffix}", tmp_path / f"plain.{suffix}"
    how = {"quality": 95} | ({"lossless": True} if suffix == "webp" else {})
    Image.fromarray(picture()).save(path, icc_profile=icc.rgb_profile(), **how)
    Image.fromarray(picture()).save(plain, **how)
    stored = images.read_rgb(plain)
    wanted = adobe_to_srgb(stored)
    assert np.abs(wanted - stored).mean() > 4
    assert np.abs(images.read_rgb(path) - wanted).max() < 2


def test_a_pillow_image_in_memory_is_converted_too() -> None:
    image = Image.fromarray(picture())
    image.info["icc_profile"] = icc.rgb_profile()
    assert np.abs(images.to_rgb(image) - adobe_to_srgb(picture())).max() < 2


def test_greys_have_profiles_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(picture()[..., 0]).save(path, icc_profile=icc.grey_profile(1.8))
    found = images.read_rgb(path)
    linear = (picture()[..., 0] / 255) ** 1.8
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(found[..., 1] - 255 * curved).max() < 3


def test_a_transparent_image_is_converted_before_it_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    image = Image.fromarray(picture())
    image.putalpha(128)
    image.save(path, icc_profile=icc.rgb_profile())
    wanted = adobe_to_srgb(picture()) * 128 / 255 + 127
    assert np.abs(images.read_rgb(path) - wanted).max() < 2.5


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"no profile at all",
        icc.rgb_profile()[:200],
        icc.grey_profile(1.0),
    ],
    ids=["sRGB", "noise", "cut off", "of another colour space"],
)
def test_pixels_stay_to_the_last_bit_where_nothing_is_to_convert(
    tmp_path: Path, profile: bytes
) -> None:
    path = tmp_path / "tagged.png"
    Image.fromarray(picture()).save(path, icc_profile=profile)
    assert np.array_equal(images.read_rgb(path), picture())


def with_chunk(png: bytes, kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """Put a chunk after the header of a PNG."""
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    part = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    return png[:33] + part + png[33:]


@pytest.fixture
def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PNG")
    return stream.getvalue()


ODD_CHUNKS = {
    "profile of 2 MB": (b"iCCP", b"p\0\0" + zlib.compress(bytes(2_000_000)), None),
    "profile that unpacks to 100 MB": (b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000)), None),
    "profile that does not unpack": (b"iCCP", b"p\0\0nothing", None),
    "text of 2 MB": (b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 2_000_000), None),
    "broken EXIF": (b"eXIf", b"\0\x08\0\2\1\x12\0\3", None),
    "text with a wrong checksum": (b"tEXt", b"Comment\0hello", 1),
    "unknown kind": (b"abCd", bytes(7), 1),
}


@pytest.mark.parametrize("what", ODD_CHUNKS)
def test_a_png_is_its_pixels_whatever_else_it_holds(png: bytes, what: str) -> None:
    odd = io.BytesIO(with_chunk(png, *ODD_CHUNKS[what]))
    assert np.array_equal(images.read_rgb(odd), picture())
    assert images.read_size(odd) == (40, 60)


@pytest.mark.parametrize("cut", [20, 33, 60, -40])
def test_a_png_whose_pixels_are_cut_off_is_refused(png: bytes, cut: int) -> None:
    with pytest.raises(BadInputError, match=r"damaged or cut off|not an image"):
        images.read_rgb(io.BytesIO(png[:cut]))


def test_a_png_with_a_wrong_checksum_of_its_pixels_is_refused(png: bytes) -> None:
    at = png.index(b"IDAT") + 30
    with pytest.raises(BadInputError, match="damaged or cut off"):
        images.read_rgb(io.BytesIO(png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :]))


def exif(orientation: int, order: str = "<", odd: bool = False) -> bytes:
    """A block of EXIF with an orientation, behind a tag that points nowhere if asked."""
    first = [struct.pack(f"{order}HHII", 0x100, 2, 4, 0xFFFFFF)] if odd else []
    entries = [*first, struct.pack(f"{order}HHIHH", 0x112, 3, 1, orientation, 0)]
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return head + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_beside_odd_tags(orientation: int, order: str) -> None:
    block = exif(orientation, order, odd=True)
    assert metadata.parse_orientation(block) == orientation
    assert metadata.parse_orientation(b"Exif\0\0" + block) == orientation
    for cut in range(len(block) - 9):
        assert metadata.parse_orientation(block[:cut]) == 1


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(value: int) -> None:
    assert metadata.parse_orientation(exif(value)) == 1


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sizes_are_those_of_the_upright_pixels(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"turned.{suffix}"
    tags = Image.Exif()
    tags[0x112] = orientation
    Image.fromarray(picture()).save(path, exif=tags)
    shape = (60, 40) if orientation == 6 else (40, 60)
    assert images.read_size(path) == images.read_rgb(path).shape[:2] == shape
    # Scaled down for the encoder it keeps its proportions.
    scaled, _ = Viewing(None, 600, 1).load(path)
    assert scaled.shape[:2] == ((30, 20) if orientation == 6 else (20, 30))
    if suffix in {"png", "tif"}:
        turns = {1: 0, 3: 2, 6: 3}[orientation]
        assert np.array_equal(images.read_rgb(path), np.rot90(picture(), turns))


def test_exif_counts_behind_the_pixels_too(png: bytes) -> None:
    body = exif(6)
    part = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", 0)
    end = png.index(b"IEND") - 4
    late = io.BytesIO(png[:end] + part + png[end:])
    assert images.read_size(late) == images.read_rgb(late).shape[:2] == (60, 40)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "bmp", "gif"])
def test_a_size_is_read_without_decoding(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(path)
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(1) or load(self))
    assert images.read_size(path) == (40, 60)
    assert not decoded
    images.read_rgb(path)
    assert decoded


def raw_like(dng: bool) -> bytes:
    """A TIFF whose first page says that it is a preview, or that the file is a camera's raw one."""
    tags = {254: (4, 0 if dng else 1), 256: (4, 4), 257: (4, 2), 258: (3, 8), 259: (3, 1),
            262: (3, 1), 273: (4, 8), 277: (3, 1), 278: (4, 2), 279: (4, 8)}  # fmt: skip
    if dng:
        tags[50706] = (1, 4)
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()
    )
    return (
        b"II*\0"
        + struct.pack("<I", 16)
        + bytes(8)
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


@pytest.mark.parametrize("dng", [False, True])
def test_a_preview_is_not_taken_for_the_photograph(dng: bool) -> None:
    with pytest.raises(BadInputError, match="reduced copy"):
        images.read_rgb(io.BytesIO(raw_like(dng)))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
        b"8BPS\0\1" + bytes(60),
        b"%PDF-1.4\n",
    ],
    ids=["EPS", "PSD", "PDF"],
)
def test_other_kinds_never_reach_a_decoder(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(BadInputError, match="not an image of a kind that can be read"):
        images.read_rgb(path)


def test_every_place_that_opens_an_image_names_its_formats() -> None:
    root = Path(images.__file__).parents[1]
    opened = [
        line.strip()
        for path in root.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line
    ]
    assert opened
    assert all("formats=" in line for line in opened), opened


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg"])
def test_a_name_that_no_file_can_have_is_one_line(name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be opened"):
        images.read_rgb(Path(name))


def test_odd_files_warn_nobody(tmp_path: Path) -> None:
    odd = tmp_path / "odd.tif"
    Image.fromarray(picture()).save(odd, tiffinfo={305: "x" * 10, 40000: "odd"})
    flat = tmp_path / "few.png"
    few = Image.fromarray(picture()).quantize(8)
    few.save(flat, transparency=bytes(range(8)))
    code = f"from reiqa import images\nfor p in ({str(odd)!r}, {str(flat)!r}): images.read_rgb(p)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
