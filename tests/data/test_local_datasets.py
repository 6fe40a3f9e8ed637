"""Own images and ratings: three lines in datasets.yaml, and files that stay where they are."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import miniature

from reiqa import catalog, layout, pipeline, store
from reiqa.data import fetch, index, status
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.scoring import build
from reiqa.stages import STAGES, lookup

PARAMS = Params.model_validate({**miniature.TREE, "datasets": ["mine"]})
TABLE = Path("photos/ratings.csv")
COUNT = 6
SHORTEST = "folder: photos\n    ratings: {file: photos/ratings.csv}"


@pytest.fixture
def photos(project: Path) -> Path:
    """A folder of six images with ratings from 1.5 to 4, described in three lines."""
    folder = project / "photos"
    folder.mkdir()
    for number in range(COUNT):
        save(folder / f"{number}.bmp", number)
    rate([(f"{number}.bmp", 1.5 + number / 2) for number in range(COUNT)])
    describe(SHORTEST)
    return folder


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def rate(rows: list[tuple[object, ...]], heads: str = "image,mos") -> None:
    lines = [heads, *(",".join(map(str, row)) for row in rows)]
    TABLE.write_text("\n".join(lines) + "\n")


def describe(entry: str, name: str = "mine") -> None:
    catalog.PROJECT_FILE.write_text(f"datasets:\n  {name}:\n    {entry}\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make() -> index.Index:
    pipeline.index("mine", PARAMS)
    return index.read_index(layout.index("mine"))


def why_stale(path: Path) -> str | None:
    return store.Freshness(lookup(PARAMS)).why_stale(path)


def test_three_lines_are_an_entry_and_nothing_is_copied(photos: Path) -> None:
    before = contents(photos)
    made = make()
    assert made.images == [f"{number}.bmp" for number in range(COUNT)]
    assert made.mos.tolist() == [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    assert made.reference == made.images and made.header["references"] == 0
    assert (made.header["rating_low"], made.header["rating_high"]) == (1.5, 4.0)
    assert contents(photos) == before
    fetched = [path.name for path in Path("data/raw").iterdir()]
    assert sorted(fetched) == ["mine.json", "mine.json.prov.json"]
    assert layout.image_folder("mine") == Path("photos")


def test_an_entry_has_what_the_later_stages_show(photos: Path) -> None:
    entry = catalog.get_entry("mine")
    assert (entry.title, entry.kind, entry.authentic) == ("mine", "rated", True)
    assert (entry.citation, entry.licence) == ("none", "not stated")
    assert entry.count_images() == COUNT
    assert "mine" in catalog.rated_names() and catalog.project_names() == ["mine"]
    row = next(row for row in status.status_table() if row.name == "mine")
    assert (row.state, row.here, row.next) == ("fetched", COUNT, "reiqa index --dataset mine")
    make()
    row = next(row for row in status.status_table() if row.name == "mine")
    assert (row.state, row.next) == ("indexed", "reiqa features --dataset mine")


def test_headers_are_verified_although_the_index_is_up_to_date(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    verified, index_dataset = [], index.index_dataset

    def counted(name: str, params: Params, verify: bool) -> Path:
        verified.append(verify)
        return index_dataset(name, params, verify)

    monkeypatch.setattr(index, "index_dataset", counted)
    pipeline.index("mine", PARAMS)
    assert verified == []
    pipeline.index("mine", PARAMS, verify=True)
    assert verified == [True]


def test_a_bundle_of_own_photographs_knows_their_sizes(photos: Path) -> None:
    make()
    assert build._sides("mine") == (8, 8)


def test_fetching_needs_no_mirror_and_leaves_the_folder_alone(photos: Path) -> None:
    before = contents(photos)
    for force in (False, True, True):
        assert pipeline.fetch(["mine"], PARAMS, Path("no-such-mirror"), force) == []
    assert contents(photos) == before
    assert store.read_json(layout.receipt("mine"))["images"] == COUNT
    assert fetch.is_complete("mine")


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("file;stars\n0.bmp;1\n1.bmp;5\n", "image: file, score: stars"),
        ("\ufefffile\tstars\n0.bmp\t1\n1.bmp\t5\n", "image: file, score: stars"),
        ('"file",note,"stars"\r\n0.bmp,"a, b",1\r\n\r\n1.bmp,,5\r\n', "image: file, score: stars"),
        ("dis_img_path,score\n0.bmp,1\n1.bmp,5\n", ""),
        ("image,mos\nphotos/0.bmp,1\n/elsewhere/photos/1.BMP,5\n", ""),
    ],
)
def test_a_table_may_name_and_separate_its_columns_otherwise(
    photos: Path, text: str, entry: str
) -> None:
    TABLE.write_bytes(text.encode())
    fields = ", ".join(filter(None, ["file: photos/ratings.csv", entry]))
    describe(f"folder: photos\n    ratings: {{{fields}}}")
    made = make()
    assert (made.images, made.mos.tolist()) == (["0.bmp", "1.bmp"], [1.0, 5.0])


def test_references_keep_images_together_and_an_image_without_one_is_its_own(photos: Path) -> None:
    rows = [("0.bmp", 1, "a 1.5"), ("1.bmp", 2, "a 1.7"), ("2.bmp", 3, "a 1.5"), ("3.bmp", 4, "")]
    rate(rows, "image,mos,reference")
    made = make()
    assert made.reference == ["a 1.5", "a 1.7", "a 1.5", "3.bmp"]
    assert made.header["references"] == 3
    describe(
        "folder: photos\n    ratings: {file: photos/ratings.csv, reference: scene, distortion: d}"
    )
    rate([("0.bmp", 1, "x", "blur"), ("1.bmp", 2, "x", "")], "image,mos,scene,d")
    made = make()
    assert (made.reference, made.distortion) == (["x", "x"], ["blur", ""])
    assert not catalog.get_entry("mine").authentic


def test_a_dmos_is_inverted_within_its_scale(photos: Path) -> None:
    fields = "file: photos/ratings.csv, low: 0, high: 10, higher_is_better: false"
    describe(f"folder: photos\n    ratings: {{{fields}}}")
    assert make().mos.tolist() == [8.5, 8.0, 7.5, 7.0, 6.5, 6.0]


def test_images_without_a_rating_are_left_out_and_counted(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate([("0.bmp", 1), ("1.bmp", 2), ("2.bmp", 3)])
    made = make()
    assert len(made) == 3 and made.header["unrated"] == 3
    assert made.header["unrated_first"] == ["3.bmp", "4.bmp", "5.bmp"]
    assert "mine: 3 images without a rating are left out (first: 3.bmp" in capsys.readouterr().err


def test_a_folder_without_ratings_is_a_corpus(photos: Path) -> None:
    describe(f"folder: photos\n    images: {COUNT}")
    pipeline.index("mine", PARAMS)
    rows = index.read_corpus(layout.index("mine"))
    assert (rows[0].image, rows[0].width, rows[0].height) == ("0.bmp", 12, 8)
    assert len(rows) == COUNT and catalog.get_entry("mine").kind == "corpus"


def copy_elsewhere(photos: Path) -> None:
    shutil.copytree(photos, "elsewhere")


#: What is done to a finished index, and whether it is stale then.
CHANGES: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "a rating": (lambda _: rate([("0.bmp", 1), ("1.bmp", 2)]), "ratings"),
    "the pixels of an image, same size": (lambda p: save(p / "0.bmp", 99), "images"),
    "a further image": (lambda p: save(p / "new.bmp", 7), "images"),
    "a further image of a rarer format": (lambda p: save(p / "new.jp2", 7), "images"),
    "an image renamed": (lambda p: (p / "0.bmp").rename(p / "00.bmp"), "images"),
    "an image removed": (lambda p: (p / "5.bmp").unlink(), "images"),
    "times only": (lambda p: [os.utime(path) for path in p.iterdir()], None),
    "a file that is no image": (lambda p: (p / "notes.txt").write_text("x"), None),
    "a hidden image": (lambda p: save(p / "._0.bmp", 1), None),
    "the folder is not here": (lambda p: p.rename(p.with_name("away")), None),
    "another entry": (
        lambda _: catalog.PROJECT_FILE.write_text(
            f"datasets:\n  mine:\n    {SHORTEST}\n  other:\n    {SHORTEST}\n"
        ),
        None,
    ),
    "the title": (lambda _: describe(f"{SHORTEST}\n    title: Mine"), None),
    "the scale": (
        lambda _: describe("folder: photos\n    ratings: {file: photos/ratings.csv, low: 0}"),
        "ratings.low",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_index_is_stale_when_the_files_or_its_entry_change(photos: Path, what: str) -> None:
    change, seen = CHANGES[what]
    make()
    path = layout.index("mine")
    assert why_stale(path) is None
    change(photos)
    if seen is None:
        assert why_stale(path) is why_stale(layout.receipt("mine")) is None
    elif seen == "ratings.low":
        assert why_stale(path) == "parameters changed: catalog.ratings.low"
    else:
        assert why_stale(path) == f"input is stale: {layout.receipt('mine')}"
        assert why_stale(layout.receipt("mine")) == f"parameters changed: catalog.content.{seen}"


def test_a_folder_that_moved_with_its_entry_changes_nothing(photos: Path) -> None:
    rows = Path("ratings.csv")
    TABLE.rename(rows)
    describe("folder: photos\n    ratings: {file: ratings.csv}")
    make()
    photos.rename("elsewhere")
    describe("folder: elsewhere\n    ratings: {file: ratings.csv}")
    assert why_stale(layout.index("mine")) is None


def test_a_changed_image_is_seen_by_all_that_was_made_of_it(photos: Path) -> None:
    make()
    before = layout.index("mine").read_bytes()
    save(photos / "0.bmp", 99)
    again = make()
    assert why_stale(layout.index("mine")) is None
    # The rows are the same, but features are made of the index.
    assert layout.index("mine").read_bytes() != before
    assert again.mos.tolist() == [1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


def test_a_change_during_the_work_makes_the_index_stale(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = STAGES["fetch"].function()

    def meanwhile(name: str) -> object:
        made = work(name)
        save(photos / "0.bmp", 99)
        return made

    monkeypatch.setattr(fetch, "fetch", meanwhile)
    pipeline.run_stage("fetch", PARAMS, "mine")
    assert why_stale(layout.receipt("mine")) == "parameters changed: catalog.content.images"


def test_digests_are_kept_and_a_damaged_record_of_them_is_no_obstacle(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.WORK / "digests" / "mine.json"
    first = catalog.get_entry("mine").content()
    read = []
    digest = store.file_digest
    monkeypatch.setattr(store, "file_digest", lambda path: read.append(path) or digest(path))
    assert catalog.get_entry("mine").content() == first and not read
    save(photos / "3.bmp", 3)
    assert catalog.get_entry("mine").content() == first
    assert read == [Path("photos/3.bmp")], "only what was written again is read again"
    for damage in ("", "[]", '{"photos/0.bmp": 3}', '{"photos/0.bmp": ["", 5]}'):
        kept.write_text(damage)
        assert catalog.get_entry("mine").content() == first


LOW = "folder: photos\n    ratings: {file: photos/ratings.csv, low: 2, high: 5}"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no number": (
        lambda _: rate([("0.bmp", 1), ("1.bmp", "good")]),
        r"^mine: photos/ratings\.csv: line 3: 1\.bmp: 'good' is not a rating; correct or delete",
    ),
    "a short line": (
        lambda _: rate([("0.bmp", 1), ("1.bmp",)]),
        r"^mine: photos/ratings\.csv: line 3: no value in column 'mos'; complete or delete",
    ),
    "no column": (
        lambda _: rate([("0.bmp", 1)], "file,mos"),
        r"^mine: photos/ratings\.csv: no column 'dis_img_path' or 'image', only file, mos; name"
        r" one in ratings\.image in datasets\.yaml",
    ),
    "another column": (
        lambda _: describe(
            "folder: photos\n    ratings: {file: photos/ratings.csv, reference: scene}"
        ),
        r"^mine: photos/ratings\.csv: no column 'scene', only image, mos; .*ratings\.reference",
    ),
    "no rows": (lambda _: rate([]), r"^mine: photos/ratings\.csv: has no rows"),
    "one rating": (
        lambda _: rate([("0.bmp", 3), ("1.bmp", 3)]),
        r"^mine: photos/ratings\.csv: all ratings are 3\. .*ratings\.low and ratings\.high",
    ),
    "outside the scale": (
        lambda _: describe(LOW),
        r"^mine: photos/ratings\.csv: line 2: 0\.bmp: rating 1\.5 is outside the declared range 2"
        r" to 5\. Correct the line, or ratings\.low and ratings\.high in datasets\.yaml",
    ),
    "an image that is not there": (
        lambda p: (p / "4.bmp").unlink(),
        r"^mine: photos: 1 missing \(first: 4\.bmp \(line 6\)\)\. Correct the lines of"
        r" photos/ratings\.csv, or the files, or leave .* --allow-missing",
    ),
    "an image of another folder": (
        lambda p: (
            save(p / "a" / "9.bmp", 9),
            rate([("0.bmp", 1), ("1.bmp", 2), ("b/9.bmp", 3)]),
        ),
        r"1 missing \(first: b/9\.bmp \(line 4\)\)",
    ),
    "two images of the name": (
        lambda p: (save(p / "a" / "0.bmp", 8), save(p / "b" / "9.bmp", 9), save(p / "c/9.bmp", 9),
                   rate([("0.bmp", 1), ("9.bmp", 2)])),
        r"1 duplicate \(first: b/9\.bmp = c/9\.bmp \(line 3\)\)",
    ),
    "two rows of an image": (
        lambda _: rate([("0.bmp", 1), ("1.bmp", 2), ("0.bmp", 3)]),
        r"1 duplicate \(first: 0\.bmp \(line 4\)\)",
    ),
    "an image that is none": (
        lambda p: (p / "2.bmp").write_bytes(b"no image"),
        r"1 unreadable \(first: 2\.bmp: not an image in a supported format\)",
    ),
    "an image without its end": (
        lambda p: (Image.new("RGB", (64, 64)).save(p / "2.bmp", "JPEG"),
                   (p / "2.bmp").write_bytes((p / "2.bmp").read_bytes()[:-2])),
        r"1 unreadable \(first: 2\.bmp: damaged or truncated \(no end of the JPEG",
    ),
    "another number of images": (
        lambda _: describe(f"{SHORTEST}\n    images: 7"),
        r"^mine: the table lists 6 images, but datasets\.yaml says images: 7\. Correct images",
    ),
    "another number of references": (
        lambda _: describe(f"{SHORTEST}\n    references: 2"),
        r"^mine: the table lists 6 references, but datasets\.yaml says references: 2",
    ),
    "another number of photographs": (
        lambda _: describe("folder: photos\n    images: 7"),
        r"^mine: photos: 1 missing\. Correct images in datasets\.yaml, or the files",
    ),
    "no folder": (
        lambda p: p.rename(p.with_name("away")),
        r"^mine: photos: no such folder; correct folder in datasets\.yaml, which is relative to",
    ),
    "the project's folder": (
        lambda _: describe("folder: .\n    ratings: {file: photos/ratings.csv}"),
        r"^mine: \.: contains the project folder; move the images",
    ),
    "no table": (
        lambda _: describe("folder: photos\n    ratings: {file: table.csv}"),
        r"^mine: table\.csv: no such file; .*correct ratings\.file in datasets\.yaml",
    ),
    "a table relative to the images": (
        lambda _: describe("folder: photos\n    ratings: {file: ratings.csv}"),
        r"^mine: ratings\.csv: no such file; .*project folder: write photos/ratings\.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_error_names_the_set_the_row_and_the_fix(photos: Path, what: str) -> None:
    change, says = REFUSED[what]
    change(photos)
    with pytest.raises(BadInputError, match=says) as refusal:
        make()
    assert "\n" not in str(refusal.value)


_DOWNLOAD = "datasets:\n  a: {title: A, kind: corpus, authentic: true, citation: c, licence: l,"

WRONG_FILES = {
    "no YAML": ("datasets: [", r"^datasets\.yaml: not readable as YAML"),
    "given twice": ("datasets:\n  a: {}\n  a: {}\n", r"duplicate key 'a'"),
    "a list": ("- mine\n", r"^datasets\.yaml: must be a mapping with the key datasets"),
    "no section": ("mine: {folder: photos}\n", r"^datasets\.yaml: mine: unknown key; .*below"),
    "entries as a list": ("datasets: [mine]\n", r"^datasets\.yaml: datasets: must be a mapping"),
    "a built-in name": (
        "datasets:\n  koniq10k: {folder: photos, images: 6}\n",
        r"^datasets\.yaml: datasets\.koniq10k: the name of a built-in dataset; choose another",
    ),
    "an odd name": (
        "datasets:\n  My-Set: {folder: photos, images: 6}\n",
        r"^datasets\.yaml: datasets\.My-Set: not a name of a dataset; allowed: letters a-z",
    ),
    "an unknown key": (
        "datasets:\n  a: {folder: photos, scores: x}\n",
        r"^datasets\.yaml: datasets\.a: scores: unknown key; allowed here: name, folder",
    ),
    "no entry": ("datasets:\n  a:\n", r"^datasets\.yaml: datasets\.a: must be a mapping"),
    "a corpus of unknown size": (
        "datasets:\n  a: {folder: photos}\n",
        r"^datasets\.yaml: datasets\.a: images: required for a corpus",
    ),
    "a download too": (
        "datasets:\n  a: {folder: photos, images: 6, shares: clive}\n",
        r"^datasets\.yaml: datasets\.a: shares: not allowed together with folder",
    ),
    "a packaged table": (
        "datasets:\n  a: {folder: photos, ratings: {table: LIVE}}\n",
        r"^datasets\.yaml: datasets\.a: ratings\.file: required",
    ),
    "a date that is none": ("datasets:\n  a: {note: 2020-13-45}\n", r"not readable as YAML"),
    "a number as a mirror": ("mirrors: {a: 1}\n", r"^datasets\.yaml: mirrors\.a: must be a text"),
    "an unknown key in a list": (
        "datasets:\n  a: {parts: [{sources: [{url: https://x/y, size: 1}]}]}\n",
        r"^datasets\.yaml: datasets\.a: parts\.0\.sources\.0\.size: unknown key; allowed here: url",
    ),
    "no address": (
        f"{_DOWNLOAD} images: 6, parts: [{{sources: [{{url: hf://x}}]}}]}}\n",
        r"^datasets\.yaml: datasets\.a: parts: hf://x: not an address",
    ),
    "an unknown mirror": (
        f"{_DOWNLOAD} images: 6, parts: [{{sources: [{{url: '{{nowhere}}/a'}}]}}]}}\n",
        r"^datasets\.yaml: datasets\.a: parts: \{nowhere\}/a: not an address",
    ),
    "no regular expression": (
        "datasets:\n  a: {folder: photos, images: 6, level: '['}\n",
        r"^datasets\.yaml: datasets\.a: level: is not a regular expression",
    ),
    "a pattern without a group": (
        "datasets:\n  a: {folder: photos, images: 6, level: '[0-9]'}\n",
        r"^datasets\.yaml: datasets\.a: level: needs a group",
    ),
    "a split without a part": (
        f"{_DOWNLOAD} images: 6, steps: [s], official: [{{file: f, image: i}}]}}\n",
        r"^datasets\.yaml: datasets\.a: official\.0: needs column and values, or part",
    ),
    "images of no size": (
        "datasets:\n  a: {folder: photos, images: 6, resize: 0}\n",
        r"^datasets\.yaml: datasets\.a: resize: .*32",
    ),
    "a download without numbers": (
        f"{_DOWNLOAD} steps: [s]}}\n",
        r"^datasets\.yaml: datasets\.a: images: required, because the entry has no folder",
    ),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_a_wrong_file_is_one_line_that_names_the_entry(project: Path, what: str) -> None:
    text, says = WRONG_FILES[what]
    catalog.PROJECT_FILE.write_text(text)
    with pytest.raises(BadInputError, match=says) as refusal:
        catalog.load_catalog()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "# nothing yet\ndatasets:\n", "datasets: {}\n"])
def test_a_file_without_entries_adds_none(project: Path, text: str) -> None:
    known = list(catalog.load_catalog())
    catalog.PROJECT_FILE.write_text(text)
    assert list(catalog.load_catalog()) == known and catalog.project_names() == []


def test_a_project_may_describe_downloads_too(project: Path) -> None:
    source = "{url: '{here}/a.tgz'}"
    catalog.PROJECT_FILE.write_text(
        "mirrors: {here: https://example.org}\ndatasets:\n  theirs: {title: T, kind: corpus,"
        " authentic: true, images: 3, citation: c, licence: l,"
        f" parts: [{{sources: [{source}]}}]}}\n"
    )
    entry = catalog.get_entry("theirs")
    assert entry.parts[0].sources[0].url == "https://example.org/a.tgz"
    assert layout.image_folder("theirs") == layout.raw("theirs")


def test_a_corpus_of_a_local_dataset_is_a_copy_that_follows_it(photos: Path) -> None:
    text = catalog.PROJECT_FILE.read_text()
    catalog.PROJECT_FILE.write_text(
        f"{text}  copy: {{title: C, kind: corpus, authentic: true, images: {COUNT}, citation: c,"
        " licence: l, shares: mine}\n"
    )
    pipeline.fetch(["copy"], PARAMS)
    copied = layout.raw("copy") / "0.bmp"
    assert copied.read_bytes() == (photos / "0.bmp").read_bytes()
    assert not copied.samefile(photos / "0.bmp"), "DVC would write-protect the user's file"
    assert why_stale(layout.receipt("copy")) is None
    save(photos / "0.bmp", 99)
    assert why_stale(layout.receipt("copy")) == "parameters changed: catalog.content.images"
