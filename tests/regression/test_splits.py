"""No reference and no image in two parts, everyone in one, the same on every machine."""

import csv
import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archive_layouts import SHAPES, labels_of, rows_of

from reiqa import catalog
from reiqa.data.index import Index
from reiqa.errors import BadInputError
from reiqa.regression.splits import (
    PARTS,
    Split,
    make_splits,
    read_splits,
    resolve_protocol,
    write_splits,
)

SHARES = (0.7, 0.1, 0.2)


def made_of(references: list[str], split: list[str] | None = None, name: str = "toy") -> Index:
    """An index of images called after their place, in the order of their names."""
    count = len(references)
    state = "none published" if split is None else "complete"
    return Index(
        name=name,
        images=[f"{number:06d}.png" for number in range(count)],
        mos=np.linspace(0, 1, count),
        reference=references,
        split=split or [""] * count,
        distortion=[""] * count,
        level=[0] * count,
        header={"official_split": state},
    )


def real(name: str, shuffle: int | None = None) -> Index:
    """The full real table of a set, without pixels; the rows of an index are sorted by image."""
    rows = list(rows_of(name))
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    rows.sort(key=lambda row: row["dis_img_path"])
    parts = official_parts(name)
    grouped = catalog.get_entry(name).grouped
    depth = 2 if name == "flive" else 1
    images = [row["dis_img_path"] for row in rows]
    return Index(
        name=name,
        images=images,
        mos=np.array([float(row["score"]) for row in rows]),
        reference=[row["ref_img_path"] for row in rows] if grouped else images,
        split=[parts.get("/".join(image.split("/")[-depth:]), "") for image in images],
        distortion=[row["dis_type"] for row in rows],
        level=[0] * len(rows),
        header={"official_split": "complete" if parts else "none published"},
    )


def official_parts(name: str) -> dict[str, str]:
    """What the official split's files say, by an own reading of them."""
    parts = {}
    words = {"training": "train", "validation": "val", "False": "train", "True": "val"}
    for title, text in labels_of(name).items():
        for line in csv.DictReader(text.splitlines()):
            image = line.get("image_name") or line.get("name_image") or line["Image Name"]
            word = line.get("set") or line.get("is_valid")
            whole = "train" if title.startswith("Train") else "test"
            parts[image] = words.get(word, word) if word else whole
    return parts


def assert_sound(index: Index, split: Split, left_out: int = 0) -> None:
    """Each image in exactly one part, each reference in exactly one part, nothing empty."""
    rows = [getattr(split, part) for part in PARTS]
    assert all(len(part) for part in rows)
    everything = np.concatenate([*rows, split.left_out])
    assert len(split.left_out) == left_out
    assert sorted(everything.tolist()) == list(range(len(index)))
    groups = [{index.reference[row] for row in part.tolist()} for part in rows]
    for first, second in itertools.combinations(groups, 2):
        assert not first & second


@pytest.mark.parametrize("name", SHAPES)
def test_random_splits_of_every_real_table_are_sound(name: str) -> None:
    index = real(name)
    groups = len(set(index.reference))
    for split in make_splits(index, "random", 10, SHARES, seed=0):
        assert_sound(index, split)
        for part, share in zip(PARTS, SHARES, strict=True):
            held = len({index.reference[row] for row in getattr(split, part).tolist()})
            assert abs(held - share * groups) <= 1, (part, held)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("koniq10k", (7_058, 1_000, 2_015, 0)),
        ("flive", (30_253, 7_727, 1_827, 3)),
        ("biq2021", (8_750, 1_250, 2_000, 0)),
    ],
)
def test_official_splits_of_the_real_tables_are_sound(
    name: str, counts: tuple[int, int, int, int]
) -> None:
    index = real(name)
    (split,) = make_splits(index, "official", 10, SHARES, seed=0)
    assert_sound(index, split, left_out=counts[3])
    assert (len(split.train), len(split.val), len(split.test), len(split.left_out)) == counts
    note = resolve_protocol(index, "official").note
    assert ("3 images" in note) is (name == "flive")
    if counts[3]:
        assert all("EE371R" in index.images[row] for row in split.left_out.tolist())


def test_kadid_is_split_as_the_field_splits_it() -> None:
    index = real("kadid10k")
    split = make_splits(index, "random", 1, SHARES, seed=0)[0]
    assert [len(getattr(split, part)) // 125 for part in PARTS] == [57, 8, 16]


def test_ten_splits_are_ten_different_ones_and_a_seed_is_another_ten() -> None:
    index = real("live")
    tests = {
        tuple(split.test.tolist())
        for seed in (0, 1)
        for split in make_splits(index, "random", 10, SHARES, seed)
    }
    assert len(tests) == 20


def test_the_first_splits_do_not_depend_on_how_many_follow() -> None:
    index = real("csiq")
    few, many = (make_splits(index, "random", count, SHARES, 0) for count in (3, 10))
    for one, other in zip(few, many, strict=False):
        assert np.array_equal(one.test, other.test) and np.array_equal(one.val, other.val)


def test_the_order_in_which_a_table_was_listed_does_not_matter() -> None:
    for name in ("tid2013", "clive"):
        first, second = (
            make_splits(real(name, shuffle), "random", 2, SHARES, 0) for shuffle in (1, 2)
        )
        for one, other in zip(first, second, strict=True):
            assert np.array_equal(one.test, other.test) and np.array_equal(one.train, other.train)


def test_splits_are_the_same_for_every_hash_seed() -> None:
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1])\n"
        "from support.archive_layouts import rows_of\n"
        "import numpy as np\n"
        "from reiqa.data.index import Index\n"
        "from reiqa.regression.splits import make_splits\n"
        "rows = sorted((r['dis_img_path'], r['ref_img_path']) for r in rows_of('tid2013'))\n"
        "n = len(rows)\n"
        "index = Index('tid2013', [r[0] for r in rows], np.zeros(n), [r[1] for r in rows],"
        " ['']*n, ['']*n, [0]*n, {})\n"
        "splits = make_splits(index, 'random', 3, (0.7, 0.1, 0.2), 0)\n"
        "print([s.test.tolist()[::60] + s.val.tolist()[::60] for s in splits])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parents[1])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(said) == 1 and len(said.pop()) > 20


@settings(deadline=None, max_examples=60)
@given(
    groups=st.integers(3, 40),
    copies=st.integers(1, 4),
    seed=st.integers(0, 5),
    shares=st.sampled_from([SHARES, (0.98, 0.01, 0.01), (0.02, 0.49, 0.49), (0.4, 0.3, 0.3)]),
)
def test_any_number_of_references_is_split_soundly(
    groups: int, copies: int, seed: int, shares: tuple[float, float, float]
) -> None:
    index = made_of([f"ref{number % groups}" for number in range(groups * copies)])
    for split in make_splits(index, "random", 2, shares, seed):
        assert_sound(index, split)


def test_fewer_references_than_parts_is_one_line() -> None:
    with pytest.raises(BadInputError, match="2 references are too few"):
        make_splits(made_of(["a", "b", "a"]), "random", 1, SHARES, 0)
    one = made_of(["a", "a", "b"], ["train", "train", "test"])
    with pytest.raises(BadInputError, match="two training references"):
        make_splits(one, "official", 1, SHARES, 0)


def test_an_official_split_that_is_not_all_here_gives_way_and_says_so() -> None:
    index = made_of(list("abcdef"), ["train"] * 6)
    index.header["official_split"] = "not usable, absent: Test.csv"
    protocol = resolve_protocol(index, "official")
    assert protocol.name == "random" and "Test.csv" in protocol.note
    assert len(make_splits(index, "official", 4, SHARES, 0)) == 4
    index.header["official_split"] = "complete"
    assert "none of the official test images" in resolve_protocol(index, "official").note
    assert resolve_protocol(index, "random").note == ""


def test_splits_survive_being_written_and_read(tmp_path: Path) -> None:
    index = real("live")
    splits = make_splits(index, "random", 3, SHARES, 0)
    path = tmp_path / "splits.csv"
    write_splits(path, index, splits)
    with path.open() as stream:
        first = next(csv.DictReader(stream))
    assert list(first) == ["image", "reference", "split_0", "split_1", "split_2"]
    for one, other in zip(splits, read_splits(path, index), strict=True):
        for part in (*PARTS, "left_out"):
            assert np.array_equal(getattr(one, part), getattr(other, part))


def test_a_split_of_ones_own_may_leave_the_validation_to_reiqa(tmp_path: Path) -> None:
    index = made_of(list("aabbccddee"))
    lines = [
        f"{image},{'test' if ref == 'e' else 'train'}"
        for image, ref in zip(index.images, index.reference, strict=True)
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["image,split", *lines]))
    (split,) = read_splits(path, index)
    assert_sound(index, split)
    assert {index.reference[row] for row in split.test.tolist()} == {"e"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("image,part\n000000.png,train\n", "columns image, split_0"),
        ("image,split\n", "columns image, split_0"),
        ("split,image\ntrain,000000.png\ntest\n", "'test': 1 fields, expected 2"),
        ("image,split,split\n000000.png,train,test\n", "split: more than one column"),
        ("image,split\n000000.png,train\n000001.png,test\n", "in the index, but not in the table"),
        (
            "image,split\n000000.png,train\n000001.png,test\n000002.png,val\nx.png,val\n",
            r"not in the index \(first: x.png\)",
        ),
        (
            "image,split\n000000.png,train\n000001.png,test\n000002.png,val\n000002.png,val\n",
            "000002.png: more than one row",
        ),
        (
            "image,split\n000000.png,train\n000001.png,exam\n000002.png,val\n",
            "'exam' is not one of",
        ),
        (
            "image,split\n000000.png,train\n000001.png,train\n000002.png,val\n",
            "no image is in test",
        ),
        (
            "image,split\n000000.png,train\n000001.png,test\n000002.png,test\n",
            "reference a are in train and in test",
        ),
    ],
)
def test_a_custom_split_that_leaks_or_is_incomplete_is_refused(
    text: str, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=fault) as failure:
        read_splits(path, made_of(["a", "b", "a"]))
    assert "own.csv" in str(failure.value) and "\n" not in str(failure.value)
