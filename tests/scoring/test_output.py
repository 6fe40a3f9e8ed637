"""Rows as text, and the file of rows that a later run goes on with."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reiqa.errors import BadInputError
from reiqa.scoring.output import Record, RowFile, format_header, format_row, parse_row

texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=' ,"'), min_size=1)
points = st.integers(-50_000, 150_000).map(lambda thousandths: thousandths / 1000)
scored = st.builds(
    Record, texts, *[points] * 5, *[st.integers(1, 10**6)] * 2, texts, texts, st.just("")
)
failed = st.builds(
    Record, texts, *[st.none()] * 7, texts, texts, texts.filter(lambda text: bool(text.strip()))
)


def record(image: str, score: float = 50.0) -> Record:
    return Record(image, score, 40.0, 60.0, 1.0, -1.0, 640, 480, "ab", "lite-1", "")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@settings(deadline=None)
@given(st.one_of(scored, failed))
def test_a_row_is_one_line_and_reads_back_as_it_was(form, row: Record) -> None:
    text = format_row(row, form)
    assert "\n" not in text
    assert parse_row(text, form) == row


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_part_of_a_line_is_no_row(form) -> None:
    whole = format_row(record('a,"b".png'), form)
    for end in range(len(whole)):
        # A CSV line without the end of its last, empty cell is the whole line less nothing.
        assert parse_row(whole[:end], form) is None


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("change", [{"low": None}, {"score": float("nan")}, {"width": None}])
def test_a_row_without_a_number_is_no_row(form, change) -> None:
    assert parse_row(format_row(replace(record("a.png"), **change), form), form) is None


def test_a_row_with_a_text_for_a_number_is_no_row() -> None:
    text = format_row(record("a.png"), "jsonl")
    assert parse_row(text.replace('"score": 50.0', '"score": "50.0"'), "jsonl") is None


def rows(path: Path, form: str = "csv") -> list[Record | None]:
    lines = path.read_text().splitlines()
    return [parse_row(text, form) for text in lines[1 if form == "csv" else 0 :]]


def score_all(path: Path, form: str, images: list[str], stop: int | None = None) -> list[str]:
    """Do as the verb does; return which images had to be scored."""
    made, new = [], []
    with RowFile(path, form) as table:
        for image in images[:stop]:
            found = table.known.get(image)
            if found is None:
                new.append(image)
            made.append(found or record(image))
            table.add(made[-1])
        if stop is None:
            table.finish(made)
    return new


IMAGES = [f"{letter}.png" for letter in "cabd"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_wherever_a_run_is_cut_the_next_one_ends_in_the_same_bytes(form, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    score_all(whole, form, IMAGES)
    assert rows(whole, form) == [record(image) for image in IMAGES]
    content = whole.read_bytes()
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        new = score_all(cut, form, IMAGES)
        there = max(0, content[:length].count(b"\n") - (form == "csv"))
        assert new == IMAGES[there:]
        assert cut.read_bytes() == content


def test_rows_are_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    score_all(tmp_path / "a.csv", "csv", IMAGES, stop=2)
    assert rows(tmp_path / "a.csv") == [record(image) for image in IMAGES[:2]]


def test_rows_of_other_images_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    score_all(path, "csv", ["x.png", "y.png"])
    score_all(path, "csv", ["z.png", "y.png"])
    assert [row.image for row in rows(path)] == ["z.png", "y.png", "x.png"]


def test_the_newest_row_of_an_image_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with RowFile(path, "jsonl") as table:
        table.add(record("a.png", 1.0))
        table.add(replace(record("a.png"), score=2.0))
    with RowFile(path, "jsonl") as table:
        assert table.known["a.png"].score == 2.0


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("text", ["image,mos\na.png,3\n", "{}\n", "My notes", '[{"image": 1}]'])
def test_a_file_of_something_else_is_left_as_it_is(form, text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text(text)
    with pytest.raises(BadInputError, match="something other"):
        RowFile(path, form)
    assert path.read_text() == text


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with RowFile(path, "csv"), pytest.raises(BadInputError, match="another reiqa score"):
        RowFile(path, "csv")
    with RowFile(path, "csv") as table:
        assert not table.known


def test_a_folder_a_device_and_an_unwritable_place_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is a folder"):
        RowFile(tmp_path, "csv")
    with pytest.raises(BadInputError, match="/dev/null: is a device or a pipe"):
        RowFile(Path("/dev/null"), "csv")
    # /proc lets root pass every check of permissions.
    with pytest.raises(BadInputError, match=r"^/proc/a\.csv: .*choose another path$"):
        RowFile(Path("/proc/a.csv"), "csv")


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    link, target = tmp_path / "link.csv", tmp_path / "elsewhere.csv"
    link.symlink_to(target.name)
    score_all(link, "csv", ["x.png"])
    assert link.is_symlink() and [row.image for row in rows(target)] == ["x.png"]
    with RowFile(link, "csv"), pytest.raises(BadInputError, match="another reiqa score"):
        RowFile(target, "csv")
    round_trip = tmp_path / "round.csv"
    round_trip.symlink_to(round_trip.name)
    with pytest.raises(BadInputError, match="circular"):
        RowFile(round_trip, "csv")


def test_a_device_is_not_read_to_its_end() -> None:
    with pytest.raises(BadInputError, match="device"):
        RowFile(Path("/dev/full"), "csv")


def test_a_table_for_people_has_its_columns_under_their_heads() -> None:
    first, second = format_header("table"), format_row(record("photo.png"), "table")
    for word, value in (("expected", "40 to 60"), ("size", "640x480"), ("image", "photo.png")):
        assert first.index(word) == second.index(value)
