"""The sets of the paper preset as a mirror offers them: true archives and layouts, few images."""

import io
from collections import defaultdict
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageFilter, ImageOps
from skimage import data
from support.archive_layouts import SHAPES, labels_of, rows_of
from support.archive_server import spreadsheet, tgz, zipped
from support.project import ROOT

#: Width and height of rated images, and of the photographs to learn from.
RATED, LEARNT = (256, 208), (600, 448)

#: Archive of each rated set, by a name that the catalog knows.
ARCHIVES = {
    "koniq10k": "koniq10k.tgz",
    "clive": "live_challenge.tgz",
    "flive": "flive.tgz",
    "spaq": "spaq.tgz",
    "live": "live.tgz",
    "csiq": "CSIQ.tar",
    "tid2013": "tid2013.tgz",
    "kadid10k": "kadid10k.tgz",
}
#: Where the official split's test and validation images end in the list, as true_shapes makes it.
PARTS = {"koniq10k": (2015, 3015), "flive": (1827, 9554)}
#: What must differ from the preset: few photographs make few steps, small batches and one shard of
#: each corpus, and the processors behind the fake GPUs may only emulate bf16.
CHANGED: dict[str, Any] = {
    "data.allow_missing": True,
    "chunks.images_per_shard": 100_000,
    "compute.precision": "float32",
    "content.training.epochs": 1,
    "content.training.batch_size": 4,
    "quality.training.epochs": 1,
    "quality.training.batch_size": 5,
}


def parameters() -> dict[str, Any]:
    """The paper preset with ``CHANGED``."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "reiqa" / "presets" / "paper.yaml").read_text())
    for name, value in CHANGED.items():
        *sections, key = name.split(".")
        section = tree
        for each in sections:
            section = section[each]
        section[key] = value
    return tree


def offer(mirror: Path) -> None:
    """Lay out all sets of the paper preset in a folder."""
    for name, archive in ARCHIVES.items():
        files = {
            SHAPES[name].place(path): photograph(path, number)
            for number, path in enumerate(_chosen(name))
        }
        files |= {
            path: photograph(path, 0) if _is_picture(path) else b"text"
            for path in SHAPES[name].beside
        }
        compression = "gz" if archive.endswith("gz") else ""
        _put(mirror / name / archive, tgz(files, compression))
        for title, text in labels_of(name).items():
            _put(mirror / name / title, text.encode())
    for path, content in _corpora().items():
        _put(mirror / path, content)


def _chosen(name: str) -> list[str]:
    """Paths in the set's table: some of each part or, with references, 4 versions of 6 of them."""
    rows = list(rows_of(name))
    if name in PARTS:
        ends = (0, *PARTS[name], len(rows))
        counts = (6, 4, 10)
    elif "ref_img_path" not in rows[0]:
        ends, counts = (0, len(rows)), (20,)
    else:
        versions = defaultdict(list)
        for row in rows:
            versions[row["ref_img_path"]].append(row["dis_img_path"])
        some = islice(versions.values(), 6)
        return [paths[place * len(paths) // 4] for paths in some for place in range(4)]
    places = [
        place
        for start, end, count in zip(ends, ends[1:], counts, strict=False)
        for place in np.linspace(start, end - 1, count).astype(int)
    ]
    return [rows[place]["dis_img_path"] for place in places]


def _corpora() -> dict[str, bytes]:
    def one(number: int, kind: str = "x.jpg") -> bytes:
        return photograph(kind, number, LEARNT)

    certh = "CERTH_ImageBlurDataset"
    files = {
        "kadis/kadis700k.zip": zipped(
            {
                "kadis700k/ref_imgs/a.png": one(31, "a.png"),
                "kadis700k/dist_imgs/a_01_01.bmp": one(32, "a.bmp"),
            }
        ),
        "ava/ava.tgz": tgz({"ava/images/1.jpg": one(33)}),
        "certh_blur/CERTH_ImageBlurDataset.zip": zipped(
            {
                f"{certh}/TrainingSet/Naturally-Blurred/n.jpg": one(34),
                f"{certh}/TrainingSet/Undistorted/u.jpg": one(35),
                f"{certh}/EvaluationSet/NaturalBlurSet/sharp.jpg": one(36),
                f"{certh}/EvaluationSet/NaturalBlurSet.xlsx": spreadsheet(
                    [["Image Name ", "Blur Label"], ["sharp.jpg", "-1"]]
                ),
            }
        ),
        "voc2012/VOCtrainval_11-May-2012.tar": tgz(
            {"VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg": one(37)}, ""
        ),
    }
    for number, part in enumerate(("train2017", "val2017", "test2015", "unlabeled2017")):
        files[f"coco/{part}.zip"] = zipped({f"{part}/{number:012d}.jpg": one(40 + number)})
    for number in range(4):
        files[f"imagenet/n01440764/n01440764_{number}.JPEG"] = one(50 + number, "x.JPEG")
    return files


@cache
def _scenes() -> tuple[Image.Image, ...]:
    scenes = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.cat())
    return tuple(Image.fromarray(scene) for scene in scenes)


def photograph(path: str, number: int, size: tuple[int, int] = RATED) -> bytes:
    """Bytes of a piece of a scene, blurred more or less, of the kind that the path says."""
    scene, (width, height) = _scenes()[number % len(_scenes())], size
    if scene.width < width or scene.height < height:
        scene = ImageOps.cover(scene, size)
    left, top = number * 37 % (scene.width - width + 1), number * 23 % (scene.height - height + 1)
    piece = scene.crop((left, top, left + width, top + height))
    blurred = piece.filter(ImageFilter.GaussianBlur(number % 4 * 0.8))
    buffer = io.BytesIO()
    blurred.save(
        buffer, {"jpg": "JPEG", "peg": "JPEG", "bmp": "BMP", "png": "PNG"}[path.lower()[-3:]]
    )
    return buffer.getvalue()


def _is_picture(path: str) -> bool:
    return path.lower().endswith(("jpg", "png", "bmp"))


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
