"""The contact sheet as a file: what it holds, what it refuses, and what a cut run leaves."""

import base64
import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image
from support import sheets
from support.sheets import failed, flat, item, read_page, scored, write_page

from reiqa.errors import BadInputError, WorkFailedError
from reiqa.scoring import contact_sheet
from reiqa.scoring.contact_sheet import ContactSheet, page_title
from reiqa.scoring.run import score_paths
from reiqa.scoring.scorer import Scorer

PAGE = Path("page.html")


pytestmark = pytest.mark.usefixtures("project")


def colour(image: Image.Image | None) -> np.ndarray:
    assert image is not None
    return np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0)


# --- what it holds


def test_each_image_has_its_numbers_and_its_own_picture() -> None:
    records = [scored(f"{number}.png", number / 2) for number in range(120)]
    records[60] = failed("60.png")
    write_page(PAGE, records)
    page = read_page(PAGE)
    for row, record in zip(page.data["images"], records, strict=True):
        for name in ("score", "low", "high", "content", "quality", "width", "height", "error"):
            assert row[name] == getattr(record, name)
    assert page.maps == [] and len(page.photos) == 120
    assert page.photos[60] is None and not page["60.png"]["photo"]
    for number in (0, 49, 50, 59, 61, 99, 100, 119):
        np.testing.assert_allclose(colour(page.photos[number]), flat(number)[0, 0], atol=4)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3000, 4000), (256, 192)), ((20, 2000), (256, 3)), ((9, 7), (7, 9)), ((1, 1), (1, 1))],
)
def test_a_thumbnail_is_small_and_never_enlarged(size, expected) -> None:
    with ContactSheet(PAGE, [item("a.png")]) as sheet:
        sheet.add(item("a.png"), flat(1, size))
        list(sheet.keep([scored("a.png", 1)]))
        sheet.write("a", "worst")
    (photo,) = read_page(PAGE).photos
    assert photo is not None and photo.size == expected and photo.format == "JPEG"


def test_failed_images_are_shown_and_counted(capsys) -> None:
    write_page(PAGE, [scored("a.png", 1), failed("b.png", "not an image"), failed("c.png")])
    assert read_page(PAGE)["b.png"]["error"] == "not an image"
    assert "page.html: 3 images (2 failed)" in capsys.readouterr().err


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts of its heading and title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in {"h1", "title"}:
            self.texts.setdefault(self.found[-1][0], data)


HOSTILE = [
    "</script><script>alert(1)</script>.png",
    "<!--<script>.png",
    "<img src=x onerror=alert(1)>.png",
    "{{STYLE}} {{DATA}}.png",
    "quo\"te's & <b>&amp;.png",
    "line\u2028separator.png",
    "grüße 照片.png",
]


def test_names_cannot_leave_the_place_that_they_are_in() -> None:
    plain, hostile = Path("plain.html"), Path("hostile.html")
    write_page(plain, [scored(f"{number}.png", 1) for number in range(len(HOSTILE))])
    title = "</title><script>alert(1)</script> {{SCRIPT}}"
    write_page(hostile, [scored(name, 1) for name in HOSTILE], title=title)
    names = [row["name"] for row in read_page(hostile).data["images"]]
    assert names == HOSTILE
    expected, found = Elements(plain.read_text()), Elements(hostile.read_text(encoding="utf-8"))
    assert [tag for tag, _ in found.found] == [tag for tag, _ in expected.found]
    assert found.texts == {"h1": title, "title": f"Image quality: {title}"}


def test_the_page_allows_only_its_own_style_and_script() -> None:
    write_page(PAGE, [scored("a.png", 1)])
    text = PAGE.read_text(encoding="utf-8")
    policies = [
        attributes["content"]
        for tag, attributes in Elements(text).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1 and policies[0] is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        code = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(code) == 1
        digest = base64.b64encode(hashlib.sha256(code[0].encode()).digest()).decode()
        assert rules.pop(directive) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert not re.search(r"https?://|@import|url\(", text)


def test_links_lead_to_the_images_from_where_the_page_is() -> None:
    odd = Path(os.fsdecode(b"in/caf\xe9 #1?%20:.png"))
    odd.parent.mkdir()
    odd.touch()
    Path("elsewhere").mkdir()
    Path("elsewhere/linked").symlink_to("../in")
    page = Path("pages/deep/page.html")
    items = [item(odd), item(odd.absolute()), item(Path("elsewhere/linked") / odd.name)]
    with ContactSheet(page, items) as sheet:
        list(sheet.keep([scored(one.name, 1) for one in items]))
        sheet.write("odd", "worst")
    for row in read_page(page).data["images"]:
        assert row["link"].isascii()
        assert (Path("pages/deep") / os.fsdecode(unquote_to_bytes(row["link"]))).samefile(odd)


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (["holiday/"], "holiday/"),
        (["a.png", "b.png", "c"], "a.png and 2 more"),
        (["-"], "Images from a list"),
        ([os.fsdecode(b"caf\xe9\n")], "caf\\xe9\\n"),
    ],
)
def test_the_heading_says_what_was_scored(arguments, title) -> None:
    assert page_title(arguments) == title


def test_a_map_is_embedded_as_drawn_and_bounded(capsys) -> None:
    drawn = Path("a.map.png")
    Image.fromarray(flat(9, (700, 1900))).save(drawn)
    Path("damaged.png").write_bytes(drawn.read_bytes()[:100])
    records = [scored(f"{letter}.png", 1) for letter in "abc"]
    write_page(PAGE, records, [drawn, None, Path("damaged.png")])
    page = read_page(PAGE)
    first, *others = page.maps
    assert first is not None and first.size == (1280, 472)
    np.testing.assert_allclose(colour(first), flat(9)[0, 0], atol=4)
    assert others == [None, None]
    assert [row["map"] for row in page.data["images"]] == [True, False, False]
    assert "damaged.png" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = os.urandom(20_000)
    monkeypatch.setattr(contact_sheet, "_to_jpeg", lambda *_: picture)
    items = [item(f"{number}.png") for number in range(3000)]
    tracemalloc.start()
    try:
        with ContactSheet(PAGE, items) as sheet:
            for one in items:
                sheet.add(one, flat(1))
            list(sheet.keep(scored(one.name, 50) for one in items))
            sheet.write("many", "worst")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = PAGE.stat().st_size
    assert size > 3000 * 26_000
    assert most < size / 8


# --- what it refuses


def refuse_folder(path: Path) -> None:
    path.mkdir()


def refuse_other_content(path: Path) -> None:
    path.write_text("<!doctype html><title>My own page</title>")


def refuse_circular_link(path: Path) -> None:
    path.symlink_to(path.name)


def refuse_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (refuse_folder, "is a folder"),
        (refuse_other_content, "something other than a page"),
        (refuse_circular_link, "circular link"),
        (refuse_pipe, "is a device or a pipe"),
    ],
)
def test_what_is_not_a_page_is_not_overwritten(prepare, words) -> None:
    prepare(PAGE)
    before = os.lstat(PAGE)
    with pytest.raises(BadInputError, match=words):
        ContactSheet(PAGE, [])
    assert os.lstat(PAGE) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"page": Path("page.png")}, "use page.html"),
        ({"page": Path("a.png/page.html")}, "is a file, not a folder"),
        ({"page": Path("/proc/none/page.html")}, "page.html"),
        ({"page": PAGE, "out": PAGE, "form": "csv"}, "for --out and for --html"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_scoring(
    options, words, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the scorer was loaded")

    monkeypatch.setattr(Scorer, "load", load)
    Image.fromarray(flat(1)).save("a.png")
    with pytest.raises(BadInputError, match=words):
        score_paths(["a.png"], **options)


def test_a_page_of_its_own_an_empty_file_and_a_link_are_written_to() -> None:
    Path("real").mkdir()
    PAGE.symlink_to("real/page.html")
    for name in ("a.png", "b.png"):
        write_page(PAGE, [scored(name, 1)])
        assert PAGE.is_symlink()
        assert read_page(Path("real/page.html"))[name]["score"] == 1
    Path("empty.html").touch()
    write_page(Path("empty.html"), [scored("a.png", 1)])
    assert sorted(os.listdir("real")) == ["page.html"]  # noqa: PTH208


def test_a_full_disk_is_reported_with_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with ContactSheet(PAGE, [item("a.png")]) as sheet, pytest.raises(OSError) as found:
        sheet.add(item("a.png"), flat(1))
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, "page.html")


# --- with a scorer


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each image that is encoded."""
    counted: list[int] = []
    judge = Scorer.score_prepared

    def counting(self: Scorer, prepared: object) -> object:
        counted.append(1)
        return judge(self, prepared)

    monkeypatch.setattr(Scorer, "score_prepared", counting)
    return counted


def score(run, *paths: str, **options) -> None:
    score_paths(list(paths), bundle=str(run.bundle), threads=2, page=PAGE, **options)


def test_the_page_says_what_the_rows_say_and_shows_what_was_scored(run, photos, capsys) -> None:
    (photos / "bad.png").write_text("not a picture")
    with pytest.raises(WorkFailedError):
        score(run, "photos", form="csv", order="best")
    page = read_page(PAGE)
    assert page.data["order"] == "best" and len(capsys.readouterr().out.splitlines()) == 6
    assert page["photos/bad.png"]["error"] == "not an image in a supported format"
    for row, photo in zip(page.data["images"], page.photos, strict=True):
        if row["error"]:
            assert photo is None
            continue
        original = Image.open(row["name"]).convert("RGB")
        assert photo is not None and photo.size == original.size
        difference = np.asarray(photo, dtype=int) - np.asarray(original, dtype=int)
        assert np.abs(difference).mean() < 20 and row["low"] <= row["score"] <= row["high"]


def test_a_resumed_run_ends_in_the_same_page(run, photos, judged, capsys) -> None:
    out = Path("scores.csv")
    (photos / "bad.png").write_text("not a picture")
    with pytest.raises(WorkFailedError):
        score(run, "photos", out=out)
    assert "scores.csv: 5 rows (4 scored, 0 reused, 1 failed)" in capsys.readouterr().err
    whole, rows = PAGE.read_bytes(), out.read_bytes()
    out.write_bytes(rows[: int(len(rows) * 0.6)])
    judged.clear()
    with pytest.raises(WorkFailedError):
        score(run, "photos", out=out)
    said = re.search(r"5 rows \((\d) scored, (\d) reused, 1 failed\)", capsys.readouterr().err)
    assert said and int(said[1]) == len(judged) < 4 and int(said[2]) == 4 - len(judged)
    assert PAGE.read_bytes() == whole and out.read_bytes() == rows


def test_the_maps_of_reused_rows_are_on_the_page(run, photos, judged) -> None:
    out = Path("scores.jsonl")
    score(run, "photos", out=out, maps=Path("maps"))
    whole = PAGE.read_bytes()
    assert all(row["map"] for row in read_page(PAGE).data["images"])
    judged.clear()
    score(run, "photos", out=out, maps=Path("maps"))
    assert judged == [] and PAGE.read_bytes() == whole
    score(run, "photos", out=out)
    assert read_page(PAGE).maps == []


def test_a_reused_image_that_cannot_be_decoded_again_keeps_its_row(
    run, photos, monkeypatch, capsys
) -> None:
    out = Path("scores.csv")
    score(run, "photos", out=out)
    rows = out.read_bytes()

    def prepare(_: Scorer, path: Path) -> None:
        raise BadInputError(f"{path}: not enough memory")

    monkeypatch.setattr(Scorer, "prepare", prepare)
    score(run, "photos", out=out)
    assert out.read_bytes() == rows and read_page(PAGE).photos == [None] * 4
    assert "photos/a.png: no preview: not enough memory" in capsys.readouterr().err


def test_an_interrupted_run_leaves_the_page_as_it_was(run, photos, monkeypatch) -> None:
    score(run, "photos", out=Path("scores.csv"))
    before = PAGE.read_bytes()
    for name in ("a", "b"):
        (photos / f"{name}.png").write_bytes(run.photographs[9].read_bytes())

    def interrupted(self: Scorer, prepared: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Scorer, "score_prepared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score(run, "photos", out=Path("scores.csv"))
    assert PAGE.read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["page.html", "photos", "scores.csv"]
    score(run, "photos", out=Path("scores.csv"))
    assert PAGE.read_bytes() != before


def test_lists_links_and_equal_names_have_a_picture_each(run, photos, monkeypatch) -> None:
    other = Path("other")
    other.mkdir()
    (other / "a.png").write_bytes(run.photographs[9].read_bytes())
    (photos / "link.png").symlink_to("../other/a.png")
    odd = os.fsdecode(b'caf\xe9 "<script>.png')
    (photos / odd).write_bytes(run.photographs[4].read_bytes())
    listed = os.fsencode("\0".join(["photos", "other/a.png", "absent.png"]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    with pytest.raises(WorkFailedError, match="1 of 8 images"):
        score(run, "-")
    page = read_page(PAGE)
    names = [row["name"] for row in page.data["images"]]
    photo = dict(zip(names, page.photos, strict=True))
    assert page["absent.png"]["error"] == "no such file"
    assert colour(photo["other/a.png"]).tolist() == colour(photo["photos/link.png"]).tolist()
    assert colour(photo["other/a.png"]).tolist() != colour(photo["photos/a.png"]).tolist()
    assert photo['photos/caf\\xe9 "<script>.png'] is not None


def test_a_reader_that_has_seen_enough_does_not_end_the_page(run, photos) -> None:
    command = [
        sys.executable, "-m", "reiqa", "score", "photos", "--bundle", str(run.bundle), "--html",
        str(PAGE),
    ]  # fmt: skip
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert [row["photo"] for row in read_page(PAGE).data["images"]] == [True] * 4
    assert sheets.read_page(PAGE).data["order"] == "worst"
