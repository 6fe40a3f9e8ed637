"""Feeds spoilt files to every reader of files that others may have made; counts what comes of it.

Each input is a valid file changed by a few mutations that follow from a seed. A reader may take it
or refuse it by one of the two documented errors, in one line; anything else is a fault, as is the
death of the process: batches run in processes of their own.

Run as `python tests/faults/fuzz.py [--share 0.01] [--only index]`; a share of 1 is over a million.
"""

import argparse
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import reiqa.store.hdf5

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1]))

#: Inputs that one process takes before the next one is forked.
_BATCH = 2000
#: Seconds of work after which a reader is held to hang, and in all, however busy the machine is.
_PATIENCE, _IN_ALL = 10, 120
#: Bytes of memory that it may take.
_MEMORY = 8 * 2**30

_BYTES = (0, 1, 9, 10, 13, 34, 44, 45, 48, 57, 58, 91, 93, 123, 125, 127, 128, 254, 255)
_TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b"[]", b"{}", b'""',
    b"\n", b"\r", b",", b'"', b"#", b": ", b"\x00", b"\xff\xfe", b"../", b"&a", b"*a", b"!!python/",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", "é".encode(), "\u2028".encode(),
)  # fmt: skip


def mutated(seed: bytes, other: bytes, draws: random.Random) -> bytes:
    """Change a valid file in one to four places."""
    data = bytearray(seed)
    for _ in range(draws.choice((1, 1, 1, 2, 2, 3, 4))):
        at = draws.randrange(len(data) + 1)
        length = min(draws.choice((1, 1, 2, 4, 16, 64)), len(data) - at)
        match draws.randrange(9):
            case 0 | 1 if length:
                data[at] ^= 1 << draws.randrange(8)
            case 2 | 3 if length:
                data[at] = draws.choice(_BYTES)
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length] * draws.randrange(1, 20)
            case 6:
                data[at:at] = draws.choice(_TOKENS)
            case 7:
                data[at : at + length] = draws.choice(_TOKENS)
            case 8 if draws.randrange(4) == 0:
                data[at:] = other[draws.randrange(len(other) + 1) :]
            case _:
                del data[at + draws.randrange(64) :]
    return bytes(data)


@dataclass(frozen=True)
class Reader:
    """One reader under test.

    Attributes:
        name: what it reads.
        inputs: how many it is given when the share is 1.
        suffix: of the file's name.
        seeds: valid files.
        read: reads the file at a path.
        rebuilt: turns mutated content into a file whose checksums hold, where it has any.
        guard: reads what killed a process that read it without protection; must refuse it.
    """

    name: str
    inputs: int
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    rebuilt: Callable[[bytes], bytes] | None = None
    guard: Callable[[Path], object] | None = None


@dataclass
class Count:
    """What came of a reader's inputs."""

    tried: int = 0
    taken: int = 0
    refused: int = 0
    deaths: int = 0
    faults: list[str] = field(default_factory=list)


def fuzz(reader: Reader, inputs: int, kept: Path, seed: int = 0) -> Count:
    """Give a reader so many inputs; keep those it failed on in a folder."""
    total = Count()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        while total.tried < inputs:
            batch = min(_BATCH, inputs - total.tried)
            count = _in_a_process(reader, batch, f"{seed} {reader.name} {total.tried}", Path(name))
            total.tried += count.tried
            total.taken += count.taken
            total.refused += count.refused
            total.deaths += count.deaths
            total.faults += count.faults
            if count.faults:
                kept.mkdir(parents=True, exist_ok=True)
                for number, path in enumerate(sorted(Path(name).glob("fault-*"))):
                    shutil.move(
                        path, kept / f"{reader.name.replace(' ', '-')}-{total.tried}-{number}"
                    )
    return total


def _in_a_process(reader: Reader, inputs: int, seed: str, folder: Path) -> Count:
    """Run a batch in a child; its death is a fault of the input that it was reading."""
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(into)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with os.fdopen(out, "w") as stream, Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            _batch(reader, inputs, seed, folder, stream)
        os._exit(0)
    os.close(out)
    with os.fdopen(into) as stream:
        lines = stream.read().splitlines()
    _, status = os.waitpid(child, 0)
    told = [json.loads(line) for line in lines]
    count = Count(len(told))
    for what in told:
        count.taken += what == "taken"
        count.refused += what == "refused"
        count.faults += [what] if what not in ("taken", "refused") else []
    if os.WIFSIGNALED(status):
        count.tried += 1
        path = folder / f"input{reader.suffix}"
        if reader.guard and _told(Reader("", 0, "", (), reader.guard), path) == "refused":
            count.deaths += 1
            count.refused += 1
        else:
            count.faults.append(f"the process died by signal {os.WTERMSIG(status)}")
            shutil.copy(path, folder / "fault-died")
    return count


def _batch(reader: Reader, inputs: int, seed: str, folder: Path, stream: Any) -> None:
    draws = random.Random(seed)
    path = folder / f"input{reader.suffix}"
    for number in range(inputs):
        first, other = draws.choice(reader.seeds), draws.choice(reader.seeds)
        data = mutated(first, other, draws)
        path.write_bytes(reader.rebuilt(data) if reader.rebuilt else data)
        told = _told(reader, path)
        if told not in ("taken", "refused"):
            shutil.copy(path, folder / f"fault-{number}")
        stream.write(json.dumps(told) + "\n")
        stream.flush()


def _told(reader: Reader, path: Path) -> str:
    from reiqa.errors import BadInputError, WorkFailedError

    # No handler: what hangs in a library in another language never comes back to Python.
    signal.setitimer(signal.ITIMER_PROF, _PATIENCE)
    signal.alarm(_IN_ALL)
    try:
        reader.read(path)
    except (BadInputError, WorkFailedError) as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {str(error)[:100]}"
        return f"{said} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return "taken"


def readers() -> Iterator[Reader]:
    """Yield every reader, with valid files as small as they can be."""
    yield from _text_readers()
    yield from _json_readers()
    yield from _binary_readers()
    yield from _picture_readers()


def _text_readers() -> Iterator[Reader]:
    import numpy as np

    from reiqa import params
    from reiqa.data import index, rating_tables
    from reiqa.data.catalog import DatasetEntry
    from reiqa.data.index import Index
    from reiqa.regression import splits

    rated = (
        b'# name: "demo"\n# proxy: true\n# rating: {"low": 0, "high": 100}\n'
        b"image,mos,reference,split,distortion,level\n"
        b'a.png,50.5,a,train,,0\n"b,c.png",1e1,a,test,jpeg,3\n'
    )
    corpus = b'# name: "c"\nimage,width,height,digest\na.png,640,480,0123456789abcdef\n'
    yield Reader("index of a rated set", 250_000, ".csv", (rated,), index.read_index)
    yield Reader("index of a corpus", 200_000, ".csv", (corpus,), index.read_corpus)

    names = ["a.png", "b.png", "c.png"]
    known = Index("demo", names, np.arange(3.0), names, [""] * 3, [""] * 3, [0] * 3, {})
    table = b"image,split_0,split_1\na.png,train,test\nb.png,val,train\nc.png,test,val\n"
    yield Reader(
        "table of splits", 150_000, ".csv", (table,), lambda path: splits.read_splits(path, known)
    )

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
        "rating table of a set", 100_000, ".csv", (listed,),
        lambda path: rating_tables.read_ratings(entry, path.parent),
    )  # fmt: skip
    yield Reader(
        "spreadsheet of labels", 5_000, ".xlsx", (_sheet(_XML),),
        lambda path: rating_tables.read_listing(path, "name", "scene", "1"),
    )  # fmt: skip
    yield Reader(
        "spreadsheet, its checksums right", 10_000, ".xlsx", (_XML,),
        lambda path: rating_tables.read_listing(path, "name", "scene", "1"), _sheet,
    )  # fmt: skip
    tree = (
        b"preset: p\ndatasets: [demo]\nchunks: {corpora: [c], ola: [0.1, 0.3]}\n"
        b"content: {source: package, backbone: efficientnet_lite0}\n"
        b"quality:\n  source: import\n  backbone: resnet50\n  file: x.pth\n"
        b"features:\n  scales: [1.0, 0.5]\nregression: {alphas: [0.1, 10.0, 3]}\n"
    )
    yield Reader("params.yaml", 15_000, ".yaml", (tree,), params.load_params)


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
    yield Reader("receipt", 120_000, ".json", (told,), receipts.read_receipt)

    def digests(path: Path) -> object:
        receipts.DIGESTS = path
        return receipts.known_digest("demo", "a.zip")

    known = b'{"demo/a.zip": {"bytes": 5, "sha256": "' + b"0" * 64 + b'"}, "x/y": {}}\n'
    yield Reader("table of digests", 100_000, ".json", (known,), digests)

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

    for seal, inputs in ((True, 30_000), (False, 100_000)):
        text = json.dumps(store.add_checksum(made) if seal else made).encode()
        name = "sidecar" if seal else "sidecar of an earlier version"
        yield Reader(name, inputs, ".csv.prov.json", (text,), freshness)

    manifest = (bundle.SHIPPED / "lite" / bundle.MANIFEST).read_bytes()
    yield Reader(
        "manifest of a bundle", 10_000, ".json", (manifest,),
        lambda path: bundle._checked(path, path.read_bytes()),
    )  # fmt: skip


def _binary_readers() -> Iterator[Reader]:
    import argparse as arguments

    import h5py
    import numpy as np
    import torch
    from safetensors.torch import save
    from support.offered import seven_of, seven_parts
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
    yield Reader("checkpoint", 10_000, ".pth", (zipped,), checkpoint)
    yield Reader("checkpoint of an old torch", 20_000, ".pth", (old, pickle.dumps([1])), checkpoint)
    with zipfile.ZipFile(io.BytesIO(zipped)) as parts:
        members = {name: parts.read(name) for name in parts.namelist()}
    (main,) = (name for name in members if name.endswith("data.pkl"))

    def rezipped(data: bytes) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as parts:
            for name, content in members.items():
                parts.writestr(name, data if name == main else content)
        return stream.getvalue()

    yield Reader(
        "checkpoint, its checksums right", 15_000, ".pth", (members[main],), checkpoint, rezipped
    )

    card = {"backbone": "shufflenet_v2_x0_5", "expert": "quality"}
    small = save({"a.weight": torch.ones(2, 2)}, {"reiqa": json.dumps(card)})
    yield Reader("safetensors of an expert", 600, ".safetensors", (small,), encoders.load_encoder)

    def kept(path: Path) -> object:
        digest = regressor.store.file_digest(path)
        numbers = {"intercept": 1.0, "alpha": 1.0, "l1_ratio": 0.0, "clip": None}
        told = {"safetensors_sha256": digest, "variants": {"both": numbers}}
        path.with_suffix(".json").write_text(json.dumps(told))
        return regressor.load_regressor(path, "both")

    names = ("mean", "inverse_deviation", "weights", "link_at", "link_to")
    fitted = save({f"both.{name}": torch.ones(2, dtype=torch.float64) for name in names})
    yield Reader("safetensors of a regressor", 15_000, ".safetensors", (fitted,), kept)

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

    reiqa.store.hdf5._PATIENCE = _PATIENCE // 2
    yield Reader("HDF5 of features", 150, ".h5", (features,), cache.read_features)
    yield Reader("HDF5 of windows", 150, ".h5", (shard,), window)

    def unguarded(read: Callable[[Path], object]) -> Callable[[Path], object]:
        def inner(path: Path) -> object:
            reiqa.store.hdf5.find_fault = lambda path: ""  # type: ignore[assignment]
            return read(path)

        return inner

    name = "HDF5 of features, in this process"
    yield Reader(
        name, 10_000, ".h5", (features,), unguarded(cache.read_features), guard=cache.read_features
    )
    name = "HDF5 of windows, in this process"
    yield Reader(name, 10_000, ".h5", (shard,), unguarded(window), guard=window)

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

    yield Reader("zip archive", 40_000, ".zip", tuple(_zips()), unpacked)
    packed, table = seven_parts({"d/a.png": b"pixels" * 10})
    yield Reader("7z archive", 20_000, ".7z", (seven_of(packed, table),), unpacked)
    name = "7z archive, its checksums right"
    yield Reader(name, 20_000, ".7z", (table,), unpacked, partial(seven_of, packed))
    for kind in ("gz", "xz", "bz2"):
        yield Reader(f"tar.{kind} archive", 20_000, f".tar.{kind}", (_tar(kind),), unpacked)


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
        yield Reader(f"photograph, {kind}", 40_000, suffix, tuple(seeds), shown)
    # Mutations of a whole file hardly ever leave a profile that can be opened.
    yield Reader("photograph, its profile", 20_000, ".tif", (told["icc_profile"],), shown,
                 lambda profile: saved("TIFF", colour, icc_profile=profile))  # fmt: skip


def main() -> None:
    """Fuzz all readers, or those named, and print a table of what came of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--share", type=float, default=1.0, help="of each reader's inputs")
    options.add_argument("--only", default="", help="readers with this in their name")
    options.add_argument("--part", default="0/1", help="I/N: every N-th reader, from the I-th")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, default=Path("work/fuzz"), help="for what failed")
    given = options.parse_args()
    part, parts = map(int, given.part.split("/"))
    total, failed = 0, 0
    print("| reader | inputs | taken | refused in one line | faults |")
    print("|---|---|---|---|---|", flush=True)
    for number, reader in enumerate(readers()):
        if given.only not in reader.name or number % parts != part:
            continue
        count = fuzz(reader, max(1, round(reader.inputs * given.share)), given.keep, given.seed)
        numbers = (count.tried, count.taken, count.refused, len(count.faults))
        print(f"| {reader.name} | {' | '.join(f'{n:,}' for n in numbers)} |")
        if count.deaths:
            print(f"    {count.deaths} x the library took the process with it; refused by trial")
        for fault in sorted(set(count.faults))[:20]:
            print(f"    {count.faults.count(fault)} x {fault}")
        sys.stdout.flush()
        total, failed = total + count.tried, failed + len(count.faults)
    print(f"{total:,} inputs, {failed:,} faults")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
