"""``reiqa score`` as a person meets it: rows, refusals, and what it leaves behind."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reiqa.errors import BadInputError, WorkFailedError
from reiqa.scoring import scorer
from reiqa.scoring.output import Record, parse_row
from reiqa.scoring.run import score_paths
from reiqa.scoring.scorer import Score, Scorer
from reiqa.scoring.size_check import SizeCheck

GOOD = "a good one.png"


def score(run, *paths: str, **options) -> None:
    score_paths(list(paths), bundle=str(run.bundle), threads=2, **options)


def test_a_table_has_a_row_for_each_image_in_the_order_named(run, photos, capsys) -> None:
    score(run, "photos/d.png", "photos")
    lines = capsys.readouterr().out.splitlines()
    assert [text.split()[-1] for text in lines] == [
        "image", "photos/d.png", "photos/a.png", "photos/b.png", "photos/c.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("order", "names"), [("worst", "adbc"), ("best", "cbda"), ("name", "abcd")]
)
def test_rows_are_sorted_if_asked(run, photos, capsys, order, names) -> None:
    # Blurred by 0 (c), 1.2 (b), 1.8 (d) and 3 (a) pixels.
    score(run, "photos", form="jsonl", order=order)
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [Path(row["image"]).stem for row in rows] == list(names)


def test_csv_reads_back_with_python_itself(run, photos, capsys) -> None:
    score(run, "photos", form="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 4
    for row in rows:
        assert float(row["low"]) <= float(row["score"]) <= float(row["high"])
        assert (row["width"], row["height"], row["error"]) == ("64", "48", "")


def test_a_list_comes_on_standard_input(run, photos, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photos/b.png\nphotos/c.png\n")))
    score(run, "-", form="jsonl")
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [row["image"] for row in rows] == ["photos/b.png", "photos/c.png"]


def test_a_run_with_out_keeps_what_it_has(run, photos, monkeypatch) -> None:
    out = Path("scores.csv")
    score(run, "photos", out=out)
    whole = out.read_bytes()
    out.write_bytes(whole[: int(len(whole) * 0.6)])
    encoded = []
    judge = Scorer.score_prepared
    monkeypatch.setattr(
        Scorer, "score_prepared", lambda self, seen: encoded.append(1) or judge(self, seen)
    )
    score(run, "photos", out=out)
    assert out.read_bytes() == whole
    assert 0 < len(encoded) < 4
    (photos / "e.png").write_bytes((photos / "a.png").read_bytes())
    encoded.clear()
    score(run, "photos", out=out)
    assert len(encoded) == 1 and out.read_bytes().startswith(whole[:-1])


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that experts are loaded."""
    counted: list[int] = []
    load = scorer._open_experts
    monkeypatch.setattr(scorer, "_open_experts", lambda *given: counted.append(1) or load(*given))
    return counted


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_finished_run_loads_no_experts(run, photos, loads, form, capfd) -> None:
    out = Path(f"scores.{form}")
    score(run, "photos", out=out)
    assert loads == [1]
    assert f"{out}: 4 rows (4 scored, 0 reused, 0 failed)" in capfd.readouterr().err
    whole = out.read_bytes()
    score(run, "photos", out=out)
    assert "4 rows (0 scored, 4 reused, 0 failed)" in capfd.readouterr().err
    # Thumbnails are drawn again from the images alone.
    score(run, "photos", out=out, page=Path("page.html"))
    assert loads == [1] and out.read_bytes() == whole and Path("page.html").exists()
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    score(run, "photos", out=out)
    assert loads == [1, 1]


def test_images_that_are_not_there_load_no_experts(run, photos, loads) -> None:
    Path("empty").mkdir()
    with pytest.raises(BadInputError, match="empty: no image found"):
        score(run, "empty", out=Path("scores.csv"))
    assert not Path("scores.csv").exists()
    (photos / "text.png").write_text("not an image")
    with pytest.raises(WorkFailedError):
        score(run, "absent.png", "photos/text.png", out=Path("scores.csv"))
    assert loads == []


def test_experts_that_cannot_be_loaded_are_no_fault_of_an_image(
    run, photos, monkeypatch, capsys
) -> None:
    def broken(*_: object) -> None:
        raise BadInputError("quality.onnx: onnxruntime cannot load this graph")

    monkeypatch.setattr(scorer, "_open_experts", broken)
    with pytest.raises(BadInputError, match=r"quality\.onnx"):
        score(run, "photos")
    assert "photos/" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": Path("a.txt")}, "--out a.txt"),
        ({"out": Path("a.csv"), "form": "table"}, "csv or jsonl"),
        ({"out": Path("photos/a.png"), "form": "csv"}, "something other"),
    ],
)
def test_an_out_that_cannot_be_is_refused(run, photos, options, words) -> None:
    before = (photos / "a.png").read_bytes()
    with pytest.raises(BadInputError, match=words):
        score(run, "photos", **options)
    assert (photos / "a.png").read_bytes() == before


def fill_with_bad_ones(folder: Path) -> dict[str, str]:
    """Write the usual zoo; return what each line must speak of, empty where it is scored."""
    image = Image.fromarray(np.full((40, 50, 3), 90, dtype=np.uint8))
    image.save(folder / GOOD)
    (folder / "empty.jpg").touch()
    image.save(folder / "whole.jpg")
    cut = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (folder / "header.png").write_bytes((folder / GOOD).read_bytes()[:20])
    (folder / "words.png").write_text("not a picture")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    image.convert("P").save(folder / "still.gif")
    frames = [image.convert("P"), Image.new("P", image.size)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((40, 50), 30000, dtype=np.uint16)).save(folder / "deep.png")
    image.convert("CMYK").save(folder / "press.jpg")
    image.convert("RGBA").save(folder / "clear.png")
    image.resize((1, 1)).save(folder / "dot.png")
    image.resize((30_000, 10)).save(folder / "band.png")
    (folder / "round").mkdir()
    (folder / "round/back").symlink_to(folder.absolute())
    (folder / "nowhere.png").symlink_to("absent.png")
    (folder / "folder.png").mkdir()
    unreadable = {
        "phone.heic": "not an image",
        "cut.jpg": "truncated",
        "empty.jpg": "",
        "header.png": "",
    }
    small = {"dot.png": "1x1 pixels: too small", "band.png": "30000x10 pixels: too small"}
    return unreadable | small | {"words.png": "not an image", "nowhere.png": "No such file"}


def test_the_zoo_is_a_line_each_and_the_rest_is_scored(run, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zoo").mkdir()
    bad = fill_with_bad_ones(Path("zoo"))
    with pytest.raises(WorkFailedError, match=rf"{len(bad)} of \d+ images"):
        score(run, "zoo", form="csv")
    rows = [parse_row(text, "csv") for text in capsys.readouterr().out.splitlines()[1:]]
    assert all(rows)
    found = {Path(row.image).name: row for row in rows if row}
    assert len(found) == len(rows)
    for name, row in found.items():
        assert bool(row.error) == (name in bad), row
        assert bad.get(name, "") in row.error
        assert row.error.count(name) == 0, "the path stands in its own column"
    expected = {GOOD, "still.gif", "moving.gif", "deep.png", "press.jpg", "clear.png"}
    assert expected <= {name for name, row in found.items() if not row.error}


def test_a_file_that_may_not_be_read_is_a_line(run, photos, monkeypatch, capsys) -> None:
    opened = Path.open

    def guarded(self: Path, *arguments: object, **named: object) -> object:
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(WorkFailedError, match="1 of 4 images"):
        score(run, "photos", form="jsonl")
    rows = [parse_row(text, "jsonl") for text in capsys.readouterr().out.splitlines()]
    assert [row.error for row in rows if row] == ["", "Permission denied", "", ""]


def test_the_process_says_how_it_ended(run, photos) -> None:
    (photos / "bad.png").write_text("not a picture")

    def reiqa(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "reiqa", "score", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = reiqa("photos", "--bundle", str(run.bundle), "--format", "csv")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr.splitlines() == [
        "reiqa: 1 of 5 images could not be scored; see the errors in their rows"
    ]
    done = reiqa("photos", "--bundle", "absent")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "absent: bundle not found" in done.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(run, photos) -> None:
    command = [sys.executable, "-m", "reiqa", "score", "photos", "--bundle", str(run.bundle)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_map_is_drawn_once(run, photos) -> None:
    (photos / "in").mkdir()
    (photos / "in/a.png").write_bytes((photos / "a.png").read_bytes())
    out = Path("rows.jsonl")
    score(run, "photos", "photos/in", out=out, maps=Path("maps"))
    drawn = {path.relative_to("maps").as_posix(): path for path in Path("maps").rglob("*.*")}
    assert sorted(drawn) == [
        "a.png.map.png", "b.png.map.png", "c.png.map.png", "d.png.map.png", "in/a.png.map.png",
    ]  # fmt: skip
    before = {name: path.stat().st_mtime_ns for name, path in drawn.items()}
    content = drawn["b.png.map.png"].read_bytes()
    drawn["b.png.map.png"].unlink()
    score(run, "photos", out=out, maps=Path("maps"))
    assert drawn["b.png.map.png"].read_bytes() == content
    assert drawn["a.png.map.png"].stat().st_mtime_ns == before["a.png.map.png"]


def test_a_map_of_another_photograph_or_size_is_drawn_again(run, photos) -> None:
    out, maps = Path("rows.csv"), Path("maps")

    def drawn() -> bytes:
        return (maps / "a.png.map.png").read_bytes()

    score(run, "photos/a.png", out=out, maps=maps)
    first = drawn()
    # A row exists, but the map is of the photograph as it was.
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    score(run, "photos/a.png", out=out)
    assert drawn() == first
    score(run, "photos/a.png", out=out, maps=maps)
    second = drawn()
    assert second != first
    score(run, "photos/a.png", out=out, resize=32)
    score(run, "photos/a.png", out=out, maps=maps, resize=32)
    assert drawn() != second
    # The same name in another folder: its map is not the one that is there.
    (photos / "in").mkdir()
    (photos / "in/a.png").write_bytes((photos / "c.png").read_bytes())
    score(run, "photos/a.png", "photos/in/a.png", out=out, maps=maps)
    both = {path.name: path.read_bytes() for path in maps.iterdir()}
    assert sorted(both) == ["a.png-1.map.png", "a.png.map.png"]
    score(run, "photos/in/a.png", out=out, maps=maps)
    assert drawn() == both["a.png-1.map.png"]


def test_a_file_that_is_no_map_is_replaced_by_the_map(run, photos) -> None:
    out, maps = Path("rows.csv"), Path("maps")
    score(run, "photos/a.png", out=out)
    for content in (b"", b"\x89PNG\r\n\x1a\n cut", (photos / "b.png").read_bytes()):
        maps.mkdir(exist_ok=True)
        (maps / "a.png.map.png").write_bytes(content)
        score(run, "photos/a.png", out=out, maps=maps)
        assert (maps / "a.png.map.png").read_bytes() != content


def test_a_folder_of_maps_that_cannot_be_is_refused_before_any_image(run, photos, loads) -> None:
    Path("file").write_text("mine")
    a_file = "maps need a folder, and this path has a file in it"
    refusals = {"file": a_file, "file/maps": a_file, "/proc/maps": "cannot be written"}
    for folder, reason in refusals.items():
        with pytest.raises(BadInputError, match=f"^{folder}: {reason}"):
            score(run, "photos", maps=Path(folder))
    assert loads == [] and Path("file").read_text() == "mine"


def test_rows_are_records(run, photos, capsys) -> None:
    score(run, "photos/a.png", form="jsonl")
    assert isinstance(parse_row(capsys.readouterr().out.strip(), "jsonl"), Record)


def test_json_is_one_array(run, photos, capsys) -> None:
    score(run, "photos", form="json", order="worst")
    rows = json.loads(capsys.readouterr().out)
    assert [Path(row["image"]).stem for row in rows] == list("adbc")


def test_images_far_from_the_rated_size_are_told_once(run, photos, capsys) -> None:
    assert json.loads((run.bundle / "bundle.json").read_text())["fitted"]["sides"] == [48, 48]
    score(run, "photos")
    assert "far from the size" not in capsys.readouterr().err
    for name in "ab":
        with Image.open(photos / f"{name}.png") as image:
            image.resize((256, 192)).save(photos / f"{name}.png")
    score(run, "photos")
    told = [line for line in capsys.readouterr().err.splitlines() if "far from the size" in line]
    assert len(told) == 1
    assert "2 of 4 images" in told[0] and "48 pixels" in told[0] and "--resize 48" in told[0]
    score(run, "photos", resize=48)
    assert "far from the size" not in capsys.readouterr().err


def test_resizing_is_not_proposed_for_small_images_which_it_would_not_enlarge(capsys) -> None:
    for resize in (None, 512):
        check = SizeCheck((512, 512), resize)
        small, fitting = (Record.scored("a", Score(50, (0, 100), (0, 0), size), "", "")
                          for size in ((180, 240), (512, 768)))  # fmt: skip
        assert list(check.watch([small, fitting])) == [small, fitting]
        check.report()
        told = capsys.readouterr().err
        assert "1 of 2 images are far" in told and "these are smaller" in told
        assert "--resize" not in told


def test_resized_scores_are_those_of_the_resized_image_and_say_so(run, photos, capsys) -> None:
    with Image.open(photos / "c.png") as image:
        large = image.resize((256, 192), Image.Resampling.BICUBIC)
    large.save(photos / "large.png")
    large.resize((64, 48), Image.Resampling.BICUBIC).save(photos / "small.png")
    out = Path("scores.csv")
    score(run, "photos/large.png", "photos/small.png", out=out)
    score(run, "photos/large.png", "photos/small.png", out=out, resize=48)
    found = list(csv.DictReader(out.open()))
    assert found[0]["score"] == found[1]["score"]
    assert {row["bundle"] for row in found} == {f"{Scorer.load(run.bundle).identity}/48"}
    # Rows of the other size are not reused.
    assert "2 scored, 0 reused" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("size", [(5, 5), (6000, 8), (31, 400)])
def test_extreme_shapes_are_refused_in_their_row(run, photos, capsys, size) -> None:
    Image.new("RGB", size).save("odd.png")
    with pytest.raises(WorkFailedError, match="1 of 2"):
        score(run, "odd.png", "photos/a.png", form="jsonl")
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["score"] is None and f"{size[0]}x{size[1]} pixels: too small" in row["error"]
