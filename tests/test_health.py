"""The lineage of results: each link from an artifact back to its inputs, told and held to."""

from pathlib import Path

import pytest

from reiqa import health, store


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with a page beside it, made of one result."""
    monkeypatch.chdir(tmp_path)
    result, table, page = (Path(name) for name in ("result.json", "table.csv", "page.html"))
    for path in (result, table, page):
        store.write_text(path, path.name)
    made = store.seal(result, "fit", "demo", {}, {})
    store.seal(table, "report", "", {}, {result.as_posix(): made.digest}, [page])
    return table


def test_a_whole_lineage_holds(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.lineage(table)
    assert capsys.readouterr().out.splitlines() == ["ok  table.csv", "ok    result.json"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("table.csv", "BAD table.csv: its bytes are not those its provenance names"),
        ("page.html", "BAD table.csv: the bytes of page.html beside it are not those its"),
        ("result.json", "BAD   result.json: its bytes are not those its provenance names"),
    ],
)
def test_a_changed_file_is_told_of_where_it_stands(
    table: Path, capsys: pytest.CaptureFixture[str], changed: str, told: str
) -> None:
    Path(changed).write_text("other")
    assert not health.lineage(table)
    assert any(line.startswith(told) for line in capsys.readouterr().out.splitlines())


def test_an_input_made_anew_since_breaks_the_link(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_text(Path("result.json"), "another result")
    store.seal(Path("result.json"), "fit", "demo", {}, {})
    assert not health.lineage(table)
    assert "result.json: made anew since it was used here" in capsys.readouterr().out
