"""A rating table or a spreadsheet that is damaged is one line that names it."""

import io
import zipfile
from pathlib import Path

import pytest

from reiqa import catalog
from reiqa.data import rating_tables
from reiqa.errors import BadInputError

_SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dis_img_path,dis_type\na.png,jpeg\n", "no column 'mos' or 'score'"),
        ("name,score\na.png,5\n", "no column 'dis_img_path' or 'image'"),
        ("dis_img_path,score\na.png\n", "line 2: no value in column 'score'"),
        ("dis_img_path,score\na.png,high\n", "line 2: a.png: 'high' is not a rating"),
        ("dis_img_path,score\na.png,nan\n", "'nan' is not a rating"),
    ],
)
def test_an_incomplete_rating_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ratings.csv").write_text(text)
    with pytest.raises(BadInputError, match=rf"ratings\.csv: .*{said}"):
        rating_tables.read_ratings(catalog.get_entry("demo"), tmp_path)


def test_a_table_may_name_its_columns_otherwise(tmp_path: Path) -> None:
    entry = catalog.get_entry("mmp2k")
    (tmp_path / "MMP-2k.csv").write_text('file_name,1,MOS,report\nimages/2.jpg,50,58.82,"a, b"\n')
    (row,) = rating_tables.read_ratings(entry, tmp_path).rows
    assert (row.path, row.score, row.distortion, row.level) == ("images/2.jpg", 58.82, "", 0)
    (tmp_path / "MMP-2k.csv").write_text("file_name,score\nimages/2.jpg,50\n")
    with pytest.raises(BadInputError, match=r"MMP-2k\.csv: no column 'MOS'"):
        rating_tables.read_ratings(entry, tmp_path)


def test_a_row_that_ends_early_has_no_distortion_and_no_reference(tmp_path: Path) -> None:
    text = "score,dis_img_path,dis_type,ref_img_path\n5,a.png\n"
    (tmp_path / "ratings.csv").write_text(text)
    (row,) = rating_tables.read_ratings(catalog.get_entry("demo"), tmp_path).rows
    assert (row.path, row.score, row.distortion, row.reference) == ("a.png", 5.0, "", "")


def _book(number: str) -> bytes:
    stream = io.BytesIO()
    row = f'<row><c r="A1" t="s"><v>{number}</v></c><c r="B1"><v>scene</v></c></row>'
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("xl/sharedStrings.xml", f"<sst {_SPACE}><si><t>name</t></si></sst>")
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {_SPACE}>{row}</worksheet>")
    return stream.getvalue()


@pytest.mark.parametrize("number", ["7", "-1", "one", ""])
def test_a_spreadsheet_that_points_beyond_its_texts_is_named(tmp_path: Path, number: str) -> None:
    path = tmp_path / "labels.xlsx"
    path.write_bytes(_book("0"))
    assert rating_tables.read_listing(path, "name", "scene", "1") == set()
    path.write_bytes(_book(number))
    with pytest.raises(BadInputError, match=r"labels\.xlsx: not readable as a spreadsheet"):
        rating_tables.read_listing(path, "name", "scene", "1")


def test_a_spreadsheet_of_a_kind_that_zipfile_does_not_know_is_named(tmp_path: Path) -> None:
    spoilt = bytearray(_book("0"))
    # Flag bit 5, in the local header and in the directory: patched data.
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for at in range(len(spoilt)):
            if spoilt[at : at + 4] == mark:
                spoilt[at + place] |= 0x20
    (tmp_path / "labels.xlsx").write_bytes(spoilt)
    with pytest.raises(BadInputError, match=r"labels\.xlsx: not readable as a spreadsheet"):
        rating_tables.read_listing(tmp_path / "labels.xlsx", "name", "scene", "1")


def test_a_spreadsheet_with_formulas_and_empty_rows_is_read(tmp_path: Path) -> None:
    rows = """<row r="1"><c r="A1" t="s"><v>0</v></c>
        <c r="B1" t="inlineStr"><is><t>mo</t><t>s</t></is></c></row>
        <row r="2"><c r="A2" s="1"/><c r="B2"/></row>
        <row r="3"><c r="A3" t="str"><v>a.png</v></c>
        <c r="B3"><f>AVERAGE(C2:D2)</f><v>3.5</v></c></row>"""
    path = tmp_path / "ratings.xlsx"
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", f"<sst {_SPACE}><si><t>image</t></si></sst>")
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {_SPACE}>{rows}</worksheet>")
    assert [row for _, row in rating_tables.read_table(path)] == [{"image": "a.png", "mos": "3.5"}]


def test_a_column_given_twice_in_a_spreadsheet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.xlsx"
    row = '<row><c r="A1"><v>mos</v></c><c r="B1"><v>mos</v></c></row>'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {_SPACE}>{row}</worksheet>")
    with pytest.raises(BadInputError, match=r"ratings\.xlsx: mos: more than one column"):
        list(rating_tables.read_table(path))
