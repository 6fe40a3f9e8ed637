"""Colour profiles, orientation and everything else in a file that is not its pixels."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features
from support import icc

from reiqa import images
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.images import jpeg, metadata


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours, ``(H, W, 3)`` uint8."""
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 5, columns * 4, 255 - 2 * rows - 2 * columns]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def warnings_are_errors() -> Iterator[None]:
    """As under `python -W error`, whatever filters a module has set."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def skip_without_avif(suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")


def adobe_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """The conversion from its definition: linear light, primaries, sRGB's curve."""
    to_xyz = np.array(icc.ADOBE_RGB).T
    srgb = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061],
                     [0.01392, 0.09708, 0.71410]])  # fmt: skip
    linear = (pixels / 255) ** icc.GAMMA @ to_xyz.T @ np.linalg.inv(srgb).T
    linear = linear.clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * curved


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_a_profile_is_converted_to_srgb(tmp_path: Path, suffix: str) -> None:
    skip_without_avif(suffix)
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


def test_a_grey_photograph_may_have_a_profile_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    grey = picture()[..., 0]
    Image.fromarray(grey).save(path, icc_profile=icc.rgb_profile())
    assert np.abs(images.read_rgb(path) - adobe_to_srgb(np.dstack([grey] * 3))).max() < 2


def test_inks_have_a_profile_too(tmp_path: Path) -> None:
    inks = np.zeros((16, 64, 4), np.uint8)
    for number, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]):
        inks[:, 16 * number : 16 * number + 16] = ink
    image = Image.fromarray(inks, "CMYK")
    # Lightness 100, 66.7, 33.3 and 0, as sRGB.
    wanted = [255, 162, 79, 0]
    for name in ("inks.tif", "inks.jpg"):
        how = {"quality": 100} if name.endswith("jpg") else {}
        image.save(tmp_path / name, icc_profile=icc.cmyk_profile(), **how)
        found = images.read_rgb(tmp_path / name)[8, 8::16]
        assert np.abs(found.astype(int) - np.array(wanted)[:, None]).max() <= 3
    image.save(tmp_path / "plain.tif")
    assert images.read_rgb(tmp_path / "plain.tif")[8, 24].tolist() == [0, 255, 255]


def test_a_jpeg_decoded_at_a_fraction_of_its_size_is_converted(tmp_path: Path) -> None:
    for name, how in (("tagged", {"icc_profile": icc.rgb_profile()}), ("plain", {})):
        Image.fromarray(picture(160, 240) // 4).save(tmp_path / f"{name}.jpg", quality=95, **how)
    stored = images.read_rgb(tmp_path / "plain.jpg", least=(40, 60))
    found = images.read_rgb(tmp_path / "tagged.jpg", least=(40, 60))
    assert found.shape == stored.shape == (40, 60, 3)
    assert not np.array_equal(found, stored)
    assert np.abs(found - adobe_to_srgb(stored)).max() < 2


def test_a_large_profile_in_several_segments_is_joined(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    # Behind its tags a profile may hold anything.
    Image.fromarray(picture()).save(path, quality=95, icc_profile=icc.rgb_profile() + bytes(90_000))
    Image.fromarray(picture()).save(tmp_path / "plain.jpg", quality=95)
    stored = images.read_rgb(tmp_path / "plain.jpg")
    assert np.abs(images.read_rgb(path) - adobe_to_srgb(stored)).max() < 2


def test_a_palette_is_converted(tmp_path: Path) -> None:
    few = Image.fromarray(picture()).quantize(16)
    few.save(tmp_path / "few.png", icc_profile=icc.rgb_profile())
    wanted = adobe_to_srgb(np.asarray(few.convert("RGB")))
    assert np.abs(images.read_rgb(tmp_path / "few.png") - wanted).max() < 2


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
        icc.rgb_profile() + bytes(9_000_000),
    ],
    ids=["sRGB", "noise", "cut off", "of another colour space", "of 9 MB"],
)
def test_pixels_stay_to_the_last_bit_where_nothing_is_to_convert(
    tmp_path: Path, profile: bytes
) -> None:
    for name in ("tagged.png", "tagged.tif"):
        Image.fromarray(picture()).save(tmp_path / name, icc_profile=profile)
        assert np.array_equal(images.read_rgb(tmp_path / name), picture())


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
    "transparency with a wrong checksum": (b"tRNS", bytes(6), 1),
    "transparency that is too short": (b"tRNS", bytes(2), None),
    "gamma cut off": (b"gAMA", b"\0", None),
    "animation without frames": (b"acTL", bytes(8), None),
}


@pytest.mark.parametrize("what", ODD_CHUNKS)
def test_a_png_is_its_pixels_whatever_else_it_holds(
    png: bytes, what: str, warnings_are_errors: None
) -> None:
    odd = io.BytesIO(with_chunk(png, *ODD_CHUNKS[what]))
    assert np.array_equal(images.read_rgb(odd), picture())
    assert images.read_size(odd) == (40, 60)


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    calls, count = 0, 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.calls, self.count = self.calls + 1, self.count + len(data)
        return data


def test_a_png_of_many_chunks_is_read_in_large_pieces() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    whole = stream.getvalue()
    at, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    body, spans = b"", range(at, end)
    while at < end:
        length = int.from_bytes(whole[at : at + 4], "big")
        body += whole[at + 8 : at + 8 + length]
        at += 12 + length
    chunks = b""
    for start in range(0, len(body), 50):
        part = b"IDAT" + body[start : start + 50]
        chunks += struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    many = Counted(whole[: spans.start] + chunks + whole[end:])
    assert np.array_equal(images.read_rgb(many), noise)
    # Each chunk's header once, then 64 KiB at a time.
    assert many.calls < len(body) / 50 + 40


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_size_takes_the_header_alone(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1000, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    file = Counted(stream.getvalue())
    assert images.read_size(file) == (900, 1000)
    # Read ahead by 64 KiB at a time.
    assert file.count < min(140_000, len(stream.getvalue()) / 3)


@pytest.mark.parametrize("cut", [20, 33, 60, -40])
def test_a_png_whose_pixels_are_cut_off_is_refused(png: bytes, cut: int) -> None:
    with pytest.raises(BadInputError, match=r"damaged or truncated|not an image"):
        images.read_rgb(io.BytesIO(png[:cut]))


def test_a_png_with_a_wrong_checksum_of_its_pixels_is_refused(png: bytes) -> None:
    at = png.index(b"IDAT") + 30
    with pytest.raises(BadInputError, match="damaged or truncated"):
        images.read_rgb(io.BytesIO(png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :]))


def exif(orientation: int, order: str = "<", odd: bool = False) -> bytes:
    """A block of EXIF with an orientation, behind a tag that points nowhere if asked."""
    first = [struct.pack(f"{order}HHII", 0x100, 2, 4, 0xFFFFFF)] if odd else []
    entries = [*first, struct.pack(f"{order}HHIHH", 0x112, 3, 1, orientation, 0)]
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return head + b"".join(entries) + bytes(4)


def encoded(kind: str, image: Image.Image | None = None, **how: object) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(picture())).save(stream, kind, **how)
    return stream.getvalue()


def segment(code: int, body: bytes) -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body


MPF = b"MPF\0II*\0\x08\0\0\0\2\0"
ODD_SEGMENTS = {
    "EXIF that is none": segment(0xE1, b"Exif\0\0nothing"),
    "EXIF cut off": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
    "EXIF of odd tags": segment(0xE1, b"Exif\0\0" + exif(1, odd=True)),
    "EXIF of odd resolution": segment(
        0xE1,
        b"Exif\0\0II*\0\x08\0\0\0\2\0"
        + struct.pack("<HHII", 0x11A, 2, 1, 65)
        + struct.pack("<HHII", 0x128, 3, 9, 0xFFFFFF),
    ),
    "JFIF cut off": segment(0xE0, b"JFIF\0\1"),
    "Adobe cut off": segment(0xEE, b"Adobe"),
    "Photoshop cut off": segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
    "Photoshop of an odd resolution": segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\4abcd"),
    "further images that are none": segment(0xE2, b"MPF\0nothing"),
    "no further image": segment(
        0xE2, MPF + struct.pack("<HHII", 0xB001, 4, 1, 7) + struct.pack("<HHII", 0xB002, 7, 4, 0)
    ),
    "profile of missing pieces": segment(0xE2, b"ICC_PROFILE\0\1\3abc"),
    "profile without numbers": segment(0xE2, b"ICC_PROFILE\0"),
    "comment and junk": segment(0xFE, b"\xff\xd8") + b"junk" + b"\xff\xff",
}


def test_a_profile_in_more_pieces_than_a_byte_counts_is_passed_over() -> None:
    head = encoded("JPEG", Image.fromarray(picture()))
    piece = segment(0xE2, b"ICC_PROFILE\0" + bytes([1, 600 & 255]) + bytes(65_000))
    file = io.BytesIO(head[:2] + piece * 600 + head[2:])
    tracemalloc.start()
    try:
        found = jpeg.stripped(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.profile == b""
    # 256 pieces of 600: what a file holds beyond them is never kept.
    assert peak < 20 * 2**20
    assert np.array_equal(images.read_rgb(file), images.read_rgb(io.BytesIO(head)))


@pytest.mark.parametrize("what", ODD_SEGMENTS)
def test_a_jpeg_is_its_pixels_whatever_else_it_holds(what: str, warnings_are_errors: None) -> None:
    clean = encoded("JPEG")
    odd = io.BytesIO(clean[:2] + ODD_SEGMENTS[what] + clean[2:])
    assert np.array_equal(images.read_rgb(odd), images.read_rgb(io.BytesIO(clean)))
    assert images.read_size(odd) == (40, 60)


def test_of_a_jpeg_with_further_images_the_first_is_read(warnings_are_errors: None) -> None:
    other = Image.new("RGB", (60, 40))
    several = encoded("MPO", save_all=True, append_images=[other])
    assert images.read_size(io.BytesIO(several)) == (40, 60)
    found = images.read_rgb(io.BytesIO(several))
    assert np.array_equal(found, images.read_rgb(io.BytesIO(encoded("JPEG"))))


def with_tags(tiff: bytes, tags: dict[int, tuple[int, int, bytes]], order: str = "<") -> bytes:
    """Replace or add tags of the only page of a classic TIFF: kind, count, value or its place."""
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    entries = {}
    for number in range(count):
        tag, *entry = struct.unpack_from(f"{order}HHI4s", tiff, start + 2 + 12 * number)
        entries[tag] = tuple(entry)
    entries |= tags
    packed = [struct.pack(f"{order}HHI4s", tag, *entries[tag]) for tag in sorted(entries)]
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(packed) + bytes(4)
    return tiff[:4] + struct.pack(f"{order}I", len(tiff)) + tiff[8:] + directory


ODD_TAGS = {
    "resolution of letters": {282: (2, 4, b"abc\0"), 296: (3, 1, b"\3\0\0\0")},
    "EXIF beyond the end": {34665: (4, 1, b"\xff\xff\xff\x7f")},
    "EXIF that is none": {34665: (4, 1, b"\x08\0\0\0")},
    "text beyond the end": {305: (2, 100, b"\xff\xff\xff\x7f")},
    "text without end": {305: (2, 2**32 - 1, b"\x08\0\0\0")},
    "XMP that is a number": {700: (4, 1, b"\1\0\0\0")},
    "profile without end": {34675: (7, 2**32 - 1, b"\x08\0\0\0")},
    "profile beyond the end": {34675: (7, 500, b"\xff\xff\xff\x7f")},
    "two orientations": {274: (3, 2, b"\6\0\6\0")},
    "orientation of letters": {274: (2, 2, b"6\0\0\0")},
}


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("what", ODD_TAGS)
def test_a_tiff_is_its_pixels_whatever_else_it_holds(
    what: str, compression: str | None, warnings_are_errors: None
) -> None:
    odd = io.BytesIO(with_tags(encoded("TIFF", compression=compression), ODD_TAGS[what]))
    assert np.array_equal(images.read_rgb(odd), picture())
    assert images.read_size(odd) == (40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("how", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}], ids=str)
def test_a_tiff_is_turned_as_pillow_turns_it(orientation: int, how: dict[str, object]) -> None:
    tags = Image.Exif()
    tags[0x112] = orientation
    tiff = encoded("TIFF", exif=tags, **how)
    found = images.read_rgb(io.BytesIO(tiff))
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(tiff), formats=["TIFF"])))
    assert images.read_size(io.BytesIO(tiff)) == found.shape[:2]
    in_memory = images.to_rgb(Image.open(io.BytesIO(tiff), formats=["TIFF"]))
    assert np.array_equal(found, in_memory)


def test_a_scan_of_many_pages_is_read_as_its_first_and_no_more() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    pages = [Image.fromarray(noise ^ number) for number in range(9)]
    many = encoded("TIFF", pages[0], save_all=True, append_images=pages[1:], compression="tiff_lzw")
    file = Counted(many)
    assert np.array_equal(images.read_rgb(file), noise)
    assert file.count < len(many) / 4


def test_a_compressed_tiff_is_not_read_whole_for_a_few_pixels() -> None:
    tiff = encoded("TIFF", compression="tiff_lzw")
    far = with_tags(tiff, {279: (4, 1, struct.pack("<I", 100_000_000))})
    with pytest.raises(BadInputError, match=r"the first page ends at byte .*; save that page"):
        images.read_rgb(io.BytesIO(far + bytes(100_000_000)))


def test_an_avif_is_its_pixels_whatever_its_exif(warnings_are_errors: None) -> None:
    skip_without_avif("avif")
    clean = images.read_rgb(io.BytesIO(encoded("AVIF")))
    text = Image.Exif()
    text[0x10E] = "a photograph"
    whole = encoded("AVIF", exif=text)
    at = whole.rindex(b"MM\0*")
    broken = whole[:at] + b"XX*\0\xff" + whole[at + 5 :]
    for odd in (whole, broken):
        assert np.array_equal(images.read_rgb(io.BytesIO(odd)), clean)
    tags = Image.Exif()
    tags[0x112] = 6
    turned = io.BytesIO(encoded("AVIF", exif=tags))
    assert images.read_size(turned) == images.read_rgb(turned).shape[:2] == (60, 40)


def test_xmp_turns_neither_a_file_nor_what_pillow_read_of_it() -> None:
    xmp = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP", "TIFF"):
        how = {"tiffinfo": {700: xmp}} if kind == "TIFF" else {"xmp": xmp}
        file = io.BytesIO(encoded(kind, **how))
        assert images.read_size(file) == images.read_rgb(file).shape[:2]
        assert images.read_size(file) == (40, 60)
        if kind != "TIFF":  # Pillow itself turns that one while it loads it.
            assert images.to_rgb(Image.open(file)).shape[:2] == (40, 60)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_despite_invalid_tags(orientation: int, order: str) -> None:
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
    scaled, _ = ResizePolicy(None, 600, 1).load(path)
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
    for read in (images.read_rgb, images.read_size):
        with pytest.raises(BadInputError, match="preview"):
            read(io.BytesIO(raw_like(dng)))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
        b"8BPS\0\1" + bytes(60),
        b"%PDF-1.4\n",
        b"\0\0\1\0" + bytes(60),
        b"\1\xda\1\1" + bytes(600),
        b"P",
    ],
    ids=["EPS", "PSD", "PDF", "ICO", "SGI", "a letter"],
)
def test_other_kinds_never_reach_a_decoder(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    for read in (images.read_rgb, images.read_size):
        with pytest.raises(BadInputError, match="not an image in a supported format"):
            read(path)


def test_every_kind_that_is_listed_is_read() -> None:
    for kind in images.FORMATS:
        if kind == "AVIF" and not features.check("avif"):
            continue
        file = io.BytesIO(encoded(kind))
        assert images.read_size(file) == images.read_rgb(file).shape[:2] == (40, 60)


def test_a_file_that_asks_for_too_much_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(BadInputError, match="not enough memory"):
        images.read_rgb(io.BytesIO(encoded("PNG")))


def test_every_place_that_opens_an_image_names_its_formats() -> None:
    root = Path(images.__file__).parents[1]
    opened = [
        line.strip()
        for path in [*root.rglob("*.py"), *(root.parent / "benchmarks").rglob("*.py")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line
    ]
    assert opened
    assert all("formats=" in line for line in opened), opened


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a\0b.jpg"])
def test_a_name_that_no_file_can_have_is_one_line(name: str) -> None:
    with pytest.raises(BadInputError, match="cannot be opened"):
        images.read_rgb(Path(name))


def test_pillows_bound_on_pixels_stays_as_it_was_and_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, warnings_are_errors: None
) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    files = [encoded(kind) for kind in ("TIFF", "PNG", "JPEG", "WEBP", "GIF")] * 4
    with ThreadPoolExecutor(4) as pool:
        for pixels in pool.map(lambda file: images.read_rgb(io.BytesIO(file)), files):
            assert pixels.shape == (40, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_an_import_changes_neither_pillow_nor_warnings() -> None:
    code = """if True:
    import warnings
    import numpy
    from PIL import Image, ImageFile
    state = lambda: (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters[:])
    before = state()
    import reiqa.images
    assert state() == before"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
