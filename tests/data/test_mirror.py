"""Real photographs with real ratings, from the local mirror where there is one."""

import csv
from pathlib import Path

import pytest

from reiqa import layout
from reiqa.data import fetch, index
from reiqa.errors import BadInputError
from reiqa.regression.splits import make_splits, resolve_protocol

pytestmark = pytest.mark.mirror


def test_a_part_of_biq2021_is_indexed_with_its_true_ratings(project: Path, mirror: Path) -> None:
    fetch.fetch("biq2021", mirror)
    with pytest.raises(BadInputError, match="8,400 missing"):
        index.build_index("biq2021")
    made = index.read_index(index.build_index("biq2021", allow_missing=True, verify=True))
    assert (len(made), made.header["missing"], made.header["unreadable"]) == (3_600, 8_400, 0)
    with (mirror / "BIQ2021/Train (Images and MOS).csv").open() as stream:
        published = {row["Image Name"]: float(row["MOS"]) for row in csv.DictReader(stream)}
    assert {Path(image).name: mos for image, mos in zip(made.images, made.mos, strict=True)} == (
        published
    )
    protocol = resolve_protocol(made, "official")
    assert protocol.name == "random" and "Test (Images and MOS).csv" in protocol.note
    assert len(make_splits(made, "official", 10, (0.7, 0.1, 0.2), 0)) == 10


def test_a_part_of_mmp2k_is_indexed_with_its_true_ratings(project: Path, mirror: Path) -> None:
    table = mirror / "MMP2K/MMP-2k.csv"
    if not table.exists():
        pytest.skip(f"needs {table}")
    fetch.fetch("mmp2k", mirror)
    with pytest.raises(BadInputError, match="the table lists 700 images"):
        index.build_index("mmp2k")
    made = index.read_index(index.build_index("mmp2k", allow_missing=True, verify=True))
    assert (len(made), made.header["missing"], made.header["unreadable"]) == (700, 1_300, 0)
    with table.open() as stream:
        published = {row["file_name"]: float(row["MOS"]) for row in csv.DictReader(stream)}
    assert dict(zip(made.images, made.mos, strict=True)) == published


def test_the_pristine_photographs_are_whole(project: Path, mirror: Path) -> None:
    for name, count in (("cid22", 100), ("kodak", 24), ("gb82", 25)):
        fetch.fetch(name, mirror)
        rows = index.read_corpus(index.build_index(name))
        assert len(rows) == len({row.digest for row in rows}) == count
        assert all((layout.raw(name) / row.image).exists() for row in rows)
