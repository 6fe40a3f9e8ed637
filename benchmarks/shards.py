"""How small shards are and how fast they are read, on real photographs.

Run:    python benchmarks/shards.py --photographs FOLDER... [--write]
Needs:  folders of photographs; REIQA_MIRROR where none is named.

Each folder's photographs become one shard, through the same code as `reiqa chunks`. The last row
joins four photographs of the largest kind into one, so that windows have their full size.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from PIL import Image
from ratios import Ratio, add_option, put
from usage import processor

from reiqa import images, layout, params, store
from reiqa.chunks import shards

OUT = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "shards.md"
MOST = 60
ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One corpus: sizes in bytes, times in seconds of one core."""

    name: str
    windows: int
    raw: int
    stored: int
    written_s: float
    read_s: float

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.windows} | {self.raw / self.windows / 1e6:.2f} "
            f"| {self.stored / self.raw:.3f} | {self.windows / self.written_s:.0f} "
            f"| {self.windows / self.read_s:.0f} | {self.raw / self.read_s / 1e6:.0f} |"
        )


def settings() -> params.Params:
    packaged = {"source": "package", "backbone": "efficientnet_lite0"}
    return params.Params.model_validate(
        {
            "preset": "benchmark",
            "datasets": ["none"],
            "chunks": {"corpora": ["corpus"]},
            "content": packaged,
            "quality": packaged,
        }
    )


def index(photographs: Iterable[Path]) -> None:
    """Make the current folder a project whose corpus these photographs are."""
    raw = layout.raw("corpus")
    raw.mkdir(parents=True)
    lines = ["image,width,height,digest"]
    for path in photographs:
        (raw / path.name).symlink_to(path.absolute())
        height, width = images.read_size(path)
        lines.append(f"{path.name},{width},{height},{store.file_digest(path)[:16]}")
    layout.index("corpus").parent.mkdir(parents=True)
    layout.index("corpus").write_text("\n".join(lines) + "\n")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Least processor time of a few rounds: other jobs on the machine do not count."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def measure(name: str, photographs: list[Path]) -> Row:
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        index(photographs)
        start = time.process_time()
        path = shards.write_shard("corpus", 0, 1, settings())
        written = time.process_time() - start
        reader = shards.ShardReader([path])
        raw = 0
        for number in range(len(reader)):
            window, recipe = reader.window(number)
            # Reflected pixels are not stored; counting them would flatter the ratio.
            height, width = images.read_size(layout.raw("corpus") / recipe.image)
            raw += 3 * min(height, window.shape[1]) * min(width, window.shape[2])
        read = cpu_seconds(lambda: shards.verify_shard(path))
        return Row(name, len(reader), raw, path.stat().st_size, written, read)


def mosaics(photographs: list[Path], folder: Path) -> list[Path]:
    """Join photographs of one size by fours."""
    made = []
    sized: dict[tuple[int, int], list[Path]] = {}
    for path in photographs:
        sized.setdefault(images.read_size(path), []).append(path)
    for (height, width), alike in sorted(sized.items()):
        for first in range(0, len(alike) - 3, 4):
            four = [images.read_rgb(path) for path in alike[first : first + 4]]
            joined = np.block([[[four[0]], [four[1]]], [[four[2]], [four[3]]]])
            made.append(folder / f"{height}x{width}-{first}.png")
            Image.fromarray(joined).save(made[-1], compress_level=1)
    return made


def alternatives(photographs: list[Path]) -> list[str]:
    """Other ways to store the same pixels: share of raw, and megabytes decoded a second."""
    pixels = [images.read_rgb(path) for path in photographs]
    raw = sum(image.size for image in pixels)

    def hdf5(prepare: Callable[[np.ndarray], np.ndarray], restore: Callable, filters: dict):
        def stored(image: np.ndarray) -> tuple[int, Callable[[], object]]:
            memory, planes = io.BytesIO(), prepare(image)
            with h5py.File(memory, "w") as file:
                dataset = file.create_dataset("x", data=planes, chunks=planes.shape, **filters)
                size = dataset.id.get_storage_size()

            def read() -> None:
                with h5py.File(memory, "r", rdcc_nbytes=0) as file:
                    restore(file["x"][...])

            return size, read

        return stored

    def codec(kind: str, **options: object):
        def stored(image: np.ndarray) -> tuple[int, Callable[[], object]]:
            memory = io.BytesIO()
            Image.fromarray(image).save(memory, kind, **options)
            return memory.tell(), lambda: np.asarray(Image.open(memory, formats=[kind]))

        return stored

    def same(image: np.ndarray) -> np.ndarray:
        return image

    shuffled = hdf5plugin.Blosc2(cname="zstd", clevel=5, filters=hdf5plugin.Blosc2.BITSHUFFLE)
    ways = {
        "Zstandard 6 alone": hdf5(same, same, dict(hdf5plugin.Zstd(clevel=6))),
        "Blosc2, bit shuffle, Zstandard 5": hdf5(same, same, dict(shuffled)),
        "row and colour differences, LZ4": hdf5(
            shards.encode, shards.decode, dict(hdf5plugin.LZ4())
        ),
        "**row and colour differences, Zstandard 6**": hdf5(
            shards.encode, shards.decode, dict(hdf5plugin.Zstd(clevel=6))
        ),
        "PNG (Pillow)": codec("PNG"),
        "lossless WebP (Pillow)": codec("WEBP", lossless=True, quality=20, method=2),
    }
    lines = []
    for name, way in ways.items():
        kept = [way(image) for image in pixels]
        seconds = cpu_seconds(lambda kept=kept: [read() for _, read in kept])
        share = sum(size for size, _ in kept) / raw
        lines.append(f"| {name} | {share:.3f} | {raw / seconds / 1e6:.0f} |")
    return lines


def evenly(paths: list[Path]) -> list[Path]:
    return paths[:: -(-len(paths) // MOST)]


def photographs_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in layout.IMAGE_SUFFIXES
    )


def report(folders: list[Path]) -> tuple[str, list[Row]]:
    sets = {f"{at.parent.name}/{at.name}": evenly(photographs_in(at)) for at in folders}
    rows = [measure(name, paths) for name, paths in sets.items()]
    everything = [path for paths in sets.values() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        joined = mosaics(everything, Path(folder))
        rows.append(measure("four joined into one", evenly(joined)))
    text = "\n".join(
        [
            "# Shards: size and speed",
            "",
            "Made by `python benchmarks/shards.py --write`, which says how. One core of "
            f"{processor()}; seconds are processor time. Writing includes decoding the "
            "photograph; reading includes the check of each window's digest and, where the "
            "photograph is small, its reflection.",
            "",
            "| photographs | windows | MB a window | stored / raw | written, windows/s "
            "| read, windows/s | read, MB/s |",
            "|---|---:|---:|---:|---:|---:|---:|",
            *map(str, rows),
            "",
            "The bound is 0.62 of raw, and 100 windows a second and core.",
            "",
            f"Other ways to keep the same pixels, {len(everything)} whole photographs:",
            "",
            "| way | stored / raw | decoded, MB/s |",
            "|---|---:|---:|",
            *alternatives(everything),
            "",
        ]
    )
    return text, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, nargs="+")
    parser.add_argument(
        "--write", action="store_true", help=f"to {OUT.name} in docs/log/benchmarks"
    )
    add_option(parser)
    chosen = parser.parse_args()
    folders = chosen.photographs
    if not folders:
        mirror = os.environ.get("REIQA_MIRROR")
        if not mirror:
            parser.error("name folders with --photographs, or set REIQA_MIRROR")
        folders = [path for path in sorted(Path(mirror).glob("*/*")) if path.is_dir()]
    text, rows = report(folders)
    print(text)
    shares = [(row.name, row.stored / row.raw) for row in rows]
    put(
        chosen,
        [
            Ratio(f"bytes stored of {name}", share, "raw pixels", "at most 0.62", share <= 0.62)
            for name, share in shares
        ],
    )
    if chosen.write:
        store.write_text(OUT, text)


if __name__ == "__main__":
    main()
