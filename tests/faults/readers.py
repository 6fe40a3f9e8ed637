"""Readers of files that others may have made, each with valid files to start from."""

import io
import json
import pickle
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Reader:
    """One reader under test.

    Attributes:
        name: what it reads.
        suffix: of the file's name.
        seeds: valid files.
        read: reads the file at a path.
        rebuilt: turns mutated content into a file whose checksums are right, where it has any.
    """

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    rebuilt: Callable[[bytes], bytes] | None = None


def readers() -> Iterator[Reader]:
    """Yield every reader, with valid files as small as they can be."""
    yield from _text_readers()
    yield from _json_readers()
    yield from _binary_readers()
    yield from _picture_readers()


def _text_readers() -> Iterator[Reader]:
    import numpy as np

    from reiqa import params
    from reiqa.catalog import DatasetEntry
    from reiqa.data import index, rating_tables
    from reiqa.data.index import Index
    from reiqa.regression import splits

    rated = (
        b'# name: "demo"\n# proxy: true\n# rating: {"low": 0, "high": 100}\n'
        b"image,mos,reference,split,distortion,level\n"
        b'a.png,50.5,a,train,,0\n"b,c.png",1e1,a,test,jpeg,3\n'
    )
    corpus = b'# name: "c"\nimage,width,height,digest\na.png,640,480,0123456789abcdef\n'
    yield Reader("index of a rated set", ".csv", (rated,), index.read_index)
    yield Reader("index of a corpus", ".csv", (corpus,), index.read_corpus)

    names = ["a.png", "b.png", "c.png"]
    known = Index("demo", names, np.arange(3.0), names, [""] * 3, [""] * 3, [0] * 3, {})
    table = b"image,split_0,split_1\na.png,train,test\nb.png,val,train\nc.png,test,val\n"
    yield Reader("table of splits", ".csv", (table,), lambda path: splits.read_splits(path, known))

    entry = DatasetEntry.model_validate(
        {
            "title": "t", "kind": "rated", "authentic": False, "images": 2, "citation": "c",
            "licence": "l", "made_by": "demo", "level": r"_(\d)\.",
            "ratings": {"file": "input.csv", "low": 0, "high": 100, "higher_is_better": True,
                        "measure": "MOS"},
        }
    )  # fmt: skip
    listed = b"dis_img_path,dis_type,ref_img_path,score\na_1.png,jpeg,a.png,50\nb_2.png,,b.png,1\n"
    yield Reader(
        "rating table of a set", ".csv", (listed,),
        lambda path: rating_tables.read_ratings(entry, path.parent),
    )  # fmt: skip
    yield Reader(
        "spreadsheet of labels", ".xlsx", (_sheet(_XML),),
        lambda path: rating_tables.read_listing(path, "name", "scene", "1"),
    )  # fmt: skip
    yield Reader(
        "spreadsheet, its checksums right", ".xlsx", (_XML,),
        lambda path: rating_tables.read_listing(path, "name", "scene", "1"), _sheet,
    )  # fmt: skip
    tree = (
        b"preset: p\ndatasets: [demo]\nchunks: {corpora: [c], ola: [0.1, 0.3]}\n"
        b"content: {source: package, backbone: efficientnet_lite0}\n"
        b"quality:\n  source: import\n  backbone: resnet50\n  file: x.pth\n"
        b"features:\n  scales: [1.0, 0.5]\nregression: {alphas: [0.1, 10.0, 3]}\n"
    )
    yield Reader("params.yaml", ".yaml", (tree,), params.load_params)


_XML = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    b'<row><c r="A1"><v>name</v></c><c r="B1"><v>scene</v></c></row>'
    b'<row><c r="A2" t="s"><v>0</v></c><c r="B2"><v>1.0</v></c></row></sheetData></worksheet>'
)


def _sheet(xml: bytes) -> bytes:
    shared = _XML[: _XML.index(b"<sheetData>")] + b"<si><t>a.jpg</t></si></worksheet>"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/sharedStrings.xml", shared)
        book.writestr("xl/worksheets/sheet1.xml", xml)
    return stream.getvalue()


def _json_readers() -> Iterator[Reader]:
    from reiqa import store
    from reiqa.data import receipts
    from reiqa.params import Params
    from reiqa.scoring import bundle
    from reiqa.stages import lookup, stage_parameters

    told = b'{"name": "demo", "images": 3, "bytes": 1200, "files": [{"file": "a.zip"}]}\n'
    yield Reader("receipt", ".json", (told,), receipts.read_receipt)

    def digests(path: Path) -> object:
        kept, receipts.DIGESTS = receipts.DIGESTS, path
        try:
            return receipts.known_digest("demo", "a.zip")
        finally:
            receipts.DIGESTS = kept

    known = b'{"demo/a.zip": {"bytes": 5, "sha256": "' + b"0" * 64 + b'"}, "x/y": {}}\n'
    yield Reader("table of digests", ".json", (known,), digests)

    settings = Params.model_validate(
        {
            "preset": "p", "datasets": ["demo"], "chunks": {"corpora": ["c"]},
            "content": {"source": "package", "backbone": "efficientnet_lite0"},
            "quality": {"source": "package", "backbone": "efficientnet_lite0"},
        }
    )  # fmt: skip
    made = {
        "stage": "index", "item": "demo", "format": 1,
        "parameters": stage_parameters(settings, "index", "demo"),
        "inputs": {"a.json": "0" * 64}, "digest": "1" * 64, "size": 3, "companions": {"b.csv": 2},
        "companion_digests": {"b.csv": "2" * 64}, "command": "reiqa index", "revision": "r",
    }  # fmt: skip

    def freshness(path: Path) -> object:
        artifact = path.with_name(path.name.removesuffix(".prov.json"))
        if not artifact.exists():
            artifact.write_text("abc")
        return store.Freshness(lookup(settings)).is_fresh(artifact)

    for seal in (True, False):
        text = json.dumps(store.add_checksum(made) if seal else made).encode()
        name = "sidecar" if seal else "sidecar of an earlier version"
        yield Reader(name, ".csv.prov.json", (text,), freshness)

    manifest = (bundle.SHIPPED / "lite" / bundle.MANIFEST).read_bytes()
    yield Reader(
        "manifest of a bundle", ".json", (manifest,),
        lambda path: bundle._parse_manifest(path, path.read_bytes()),
    )  # fmt: skip


def _binary_readers() -> Iterator[Reader]:
    import argparse as arguments

    import h5py
    import numpy as np
    import torch
    from safetensors.torch import save
    from support.archive_server import seven_of, seven_parts
    from torch import nn

    from reiqa import distortions, encoders
    from reiqa.chunks import shards
    from reiqa.chunks.recipe import draw_recipe
    from reiqa.data.unpack import unpack
    from reiqa.encoders.import_weights import match_keys
    from reiqa.encoders.serialization import load_checkpoint
    from reiqa.features import cache
    from reiqa.params import ChunkParams
    from reiqa.regression import regressor

    body = nn.Linear(2, 3)
    tensors = {f"module.encoder.{name}": value for name, value in body.state_dict().items()}
    official = {"model": tensors, "opt": arguments.Namespace(crop=160), "epoch": 3}

    def checkpoint(path: Path) -> object:
        return match_keys(load_checkpoint(path, [arguments.Namespace]), body)

    def saved(new: bool) -> bytes:
        stream = io.BytesIO()
        torch.save(official, stream, _use_new_zipfile_serialization=new)
        return stream.getvalue()

    zipped, old = saved(True), saved(False)
    yield Reader("checkpoint", ".pth", (zipped,), checkpoint)
    yield Reader("checkpoint of an old torch", ".pth", (old, pickle.dumps([1])), checkpoint)
    with zipfile.ZipFile(io.BytesIO(zipped)) as parts:
        members = {name: parts.read(name) for name in parts.namelist()}
    (main,) = (name for name in members if name.endswith("data.pkl"))

    def rezipped(data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as parts:
            for name, content in members.items():
                parts.writestr(name, data if name == main else content)
        return stream.getvalue()

    yield Reader("checkpoint, its checksums right", ".pth", (members[main],), checkpoint, rezipped)

    card = {"backbone": "shufflenet_v2_x0_5", "expert": "quality"}
    small = save({"a.weight": torch.ones(2, 2)}, {"reiqa": json.dumps(card)})
    yield Reader("safetensors of an expert", ".safetensors", (small,), encoders.load_encoder)

    def kept(path: Path) -> object:
        digest = regressor.store.file_digest(path)
        numbers = {"intercept": 1.0, "alpha": 1.0, "l1_ratio": 0.0, "clip": None}
        told = {"safetensors_sha256": digest, "variants": {"both": numbers}}
        path.with_suffix(".json").write_text(json.dumps(told))
        return regressor.load_regressor(path, "both")

    names = ("mean", "inverse_deviation", "weights", "link_at", "link_to")
    fitted = save({f"both.{name}": torch.ones(2, dtype=torch.float64) for name in names})
    yield Reader("safetensors of a regressor", ".safetensors", (fitted,), kept)

    settings = ChunkParams(corpora=["c"], n_aug=1, patch=16, scales=[1.0])
    recipe = draw_recipe(settings, ("gaussian_blur",), 0, "c", "a.png", 0, 40, 40)
    assert recipe is not None
    sides = (min(40, recipe.height), min(40, recipe.width))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "f.h5"
        row = np.zeros((2, 3), np.float32)
        made = cache.FeatureRecipe({"quality": "w"}, {"scales": [1.0]})
        ones = np.ones(2, np.float32)
        cache.write_features(
            path, cache.FeatureTable(["a", "b"], row, ["0", "1"], ["", ""], ones, made, "i")
        )
        features = path.read_bytes()
        with h5py.File(path, "w", libver="latest") as file:
            group = file.create_group("windows")
            shards._store(group, np.zeros((*sides, 3), np.uint8), recipe, "digest")
            shards._annotate(
                file, format=shards.FORMAT, windows=1, bank_version=distortions.VERSION
            )
        shard = path.read_bytes()

    def window(path: Path) -> object:
        return shards.ShardReader([path]).window(0)

    yield Reader("HDF5 of features", ".h5", (features,), cache.read_features)
    yield Reader("HDF5 of windows", ".h5", (shard,), window)

    def unpacked(path: Path) -> object:
        folder = path.with_name("unpacked")
        try:
            return unpack(path, folder, lambda count: None)
        except Exception as error:
            if type(error).__name__ == "ArchiveError":
                # A name in an archive may hold line breaks; the command line prints them as blanks.
                raise regressor.BadInputError(" ".join(str(error).split())) from None
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            around = {each.name for each in path.parent.iterdir()} - {path.name}
            assert all(name.startswith("fault-") for name in around), f"outside: {around}"

    yield Reader("zip archive", ".zip", tuple(_zips()), unpacked)
    packed, table = seven_parts({"d/a.png": b"pixels" * 10})
    yield Reader("7z archive", ".7z", (seven_of(packed, table),), unpacked)
    name = "7z archive, its checksums right"
    yield Reader(name, ".7z", (table,), unpacked, partial(seven_of, packed))
    for kind in ("gz", "xz", "bz2"):
        yield Reader(f"tar.{kind} archive", f".tar.{kind}", (_tar(kind),), unpacked)


def _zips() -> Iterator[bytes]:
    """Yield one archive of each compression, and one with a folder and a link."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("d/a.png", b"pixels" * 10)
            archive.writestr("d/b.png", b"others" * 10)
        yield stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.mkdir("d")
        with archive.open("d/a.png", "w", force_zip64=True) as member:
            member.write(b"pixels" * 10)
        link = zipfile.ZipInfo("d/b.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "a.png")
    yield stream.getvalue()


def _tar(kind: Literal["gz", "xz", "bz2"]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{kind}") as tar:
        member = tarfile.TarInfo("d/a.png")
        member.size = 60
        tar.addfile(member, io.BytesIO(b"pixels" * 10))
    return stream.getvalue()


def _picture_readers() -> Iterator[Reader]:
    import numpy as np
    from PIL import Image
    from support import icc

    from reiqa import images

    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    clear = colour.convert("RGBA")
    clear.putalpha(128)
    grey, few, two = (colour.convert(mode) for mode in ("L", "P", "1"))
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    real = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)

    def saved(kind: str, image: Image.Image, **how: Any) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **how)
        return stream.getvalue()

    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 6, "a photograph"
    told = {"exif": tags, "icc_profile": icc.rgb_profile()}
    packed = [
        saved("TIFF", image, compression=how)
        for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        for image in (colour, grey)
    ]
    kinds = {
        "PNG": (
            ".png",
            [saved("PNG", each) for each in (colour, clear, grey, few, two, deep)]
            + [saved("PNG", colour, **told), saved("PNG", few, transparency=bytes(range(9)))],
        ),
        "JPEG": (
            ".jpg",
            [
                saved("JPEG", colour),
                saved("JPEG", grey),
                saved("JPEG", colour, progressive=True),
                saved("JPEG", colour.convert("CMYK")),
                saved("JPEG", colour, **told),
                saved("MPO", colour, save_all=True, append_images=[grey], **told),
            ],
        ),
        "BMP": (".bmp", [saved("BMP", each) for each in (colour, clear, grey, few, two)]),
        "GIF": (".gif", [saved("GIF", colour), saved("GIF", few, transparency=0)]),
        "TIFF": (
            ".tif",
            [saved("TIFF", each) for each in (colour, clear, grey, few, two, deep, real)]
            + [saved("TIFF", colour, **told), saved("TIFF", colour, big_tiff=True, **told)]
            + packed,
        ),
        "WEBP": (
            ".webp",
            [
                saved("WEBP", colour),
                saved("WEBP", clear, lossless=True),
                saved("WEBP", colour, **told),
            ],
        ),
        "PPM": (
            ".ppm",
            [saved("PPM", each) for each in (colour, grey, two, deep)]
            + [b"P3 2 1 255 1 2 3 4 5 6\n", b"P2 # grey\n2 1 15 1 2\n", b"P1 2 1 1 0\n"],
        ),
    }

    # The content decides, whatever the name says.
    others = [saved(kind, colour) for kind in ("AVIF", "JPEG2000")]
    kinds["other kinds"] = (".png", [*others, saved("AVIF", colour, **told)])

    def shown(path: Path) -> object:
        images.read_size(path)
        if path.suffix == ".jpg":
            # Decoded at a fraction of its size.
            images.read_rgb(path, least=(4, 5))
        return images.read_rgb(path)

    for kind, (suffix, seeds) in kinds.items():
        yield Reader(f"photograph, {kind}", suffix, tuple(seeds), shown)
    # Mutations of a whole file hardly ever leave a profile that can be opened.
    yield Reader("photograph, its profile", ".tif", (told["icc_profile"],), shown,
                 lambda profile: saved("TIFF", colour, icc_profile=profile))  # fmt: skip
