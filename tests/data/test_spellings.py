"""Rating tables and file names as other systems write them."""

import unicodedata
from pathlib import Path

import pytest
from support.archive_server import picture

from reiqa.data import add_dataset, index
from reiqa.errors import BadInputError

TABLE = "image,mos\na.png,1\nb.png,3\nc.png,4.5\n"
NFC, NFD = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))


def indexed(content: bytes, *names: str, file: str = "r.csv") -> dict[str, float]:
    """Describe and index a folder with these images and this table; return its ratings."""
    for number, name in enumerate(names or ("a.png", "b.png", "c.png")):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("a.png", number))
    Path(file).write_bytes(content)
    add_dataset.add_entry(add_dataset.describe_folder(Path("photos"), Path(file), "mine"))
    made = index.read_index(index.build_index("mine"))
    return dict(zip(made.images, made.mos.tolist(), strict=True))


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        b"\xfe\xff" + TABLE.replace(",", "\t").encode("utf-16-be"),
        TABLE.replace("\n", "\r\n").encode(),
        b"sep=;\r\n" + TABLE.replace(",", ";").encode(),
        TABLE.replace(",", ";").replace("4.5", "4,5").encode(),
        b"\n" + TABLE.encode() + b",\n\n,,,\n",
    ],
    ids=["UTF-8 mark", "UTF-16", "UTF-16 BE, tabs", "CRLF", "sep=", "decimal comma", "blank lines"],
)
@pytest.mark.usefixtures("project")
def test_a_table_however_it_is_written_is_the_same(content: bytes) -> None:
    assert indexed(content) == {"a.png": 1, "b.png": 3, "c.png": 4.5}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TABLE.replace("a", "ü").encode("latin-1"), "not UTF-8; save the file as UTF-8"),
        (TABLE.encode("utf-16-le"), "NUL characters; save the file as UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "workbook.*save it as CSV"),
        (TABLE.split("\n", 1)[1].encode(), r"first line is an image \('a.png'\)"),
        (TABLE.replace("\n", ",1\n").replace("mos,1", "mos,mos").encode(), "mos: more than one"),
    ],
    ids=["Latin-1", "UTF-16 without a mark", "old Excel", "no names of columns", "a column twice"],
)
@pytest.mark.usefixtures("project")
def test_a_table_that_cannot_be_meant_is_refused_with_the_fix(content: bytes, says: str) -> None:
    with pytest.raises(BadInputError, match=says) as refusal:
        indexed(content)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        (("x/a.png", "x/b.png"), ("x\\a.png", "x\\b.png")),
        (("x/a.png", "x/b.png"), ("C:\\photos\\X\\a.png", "C:\\photos\\X\\b.png")),
        ((r"a\b.png", "b.png"), (r"a\b.png", "b.png")),
        (("A.png", "a.png"), ("A.png", "a.png")),
        (("x/A.png", "x/a.png"), ("A.png", "a.png")),
        ((NFD, "b.png"), (NFC, "b.png")),
        ((NFC, "b.png"), (NFD, "b.png")),
        ((NFC, NFD), (NFC, NFD)),
        ((f"x/{NFC}", f"x/{NFD}"), (NFD, NFC)),
        (("a\u2028b.png", "b.png"), ("a\u2028b.png", "b.png")),
    ],
)
@pytest.mark.usefixtures("project")
def test_rows_find_their_files_however_they_are_spelled(
    files: tuple[str, str], rows: tuple[str, str]
) -> None:
    table = f"image,mos\n{rows[0]},1\n{rows[1]},3\n"
    expected = dict(zip(files, (1.0, 3.0), strict=True))
    if files[0].rpartition("/")[2] == rows[1]:
        expected = dict(zip(files, (3.0, 1.0), strict=True))
    assert indexed(table.encode(), *files) == expected


@pytest.mark.usefixtures("project")
def test_a_row_between_two_files_is_reported() -> None:
    with pytest.raises(BadInputError, match=r"1 duplicate \(first: A.png = a.png \(line 2\)"):
        indexed(b"image,mos\nA.PNG,1\nb.png,3\n", "A.png", "a.png", "b.png")


@pytest.mark.usefixtures("project")
def test_the_line_of_an_error_is_that_of_the_file() -> None:
    with pytest.raises(BadInputError, match=r"line 5: b.png: 'x' is not a rating"):
        indexed(b"\nsep=,\nimage,mos\na.png,1\nb.png,x\nc.png,3\n")
