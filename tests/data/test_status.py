"""The table of all sets says what is here and what to type next."""

import json
from pathlib import Path

from support.archive_server import picture

from reiqa import catalog, layout
from reiqa.data import fetch, index, status


def row_of(name: str) -> status.DatasetStatus:
    return next(row for row in status.status_table() if row.name == name)


def test_every_set_has_a_row(project: Path) -> None:
    rows = status.status_table()
    assert [row.name for row in rows] == list(catalog.load_catalog())
    assert all(row.state == "absent" and row.here == 0 for row in rows)
    assert all(row.next.startswith("reiqa fetch --dataset ") for row in rows)


def test_the_next_step_follows_what_is_there(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mirror/kodak"
    folder.mkdir(parents=True)
    for number in range(24):
        (folder / f"kodim{number:02d}.png").write_bytes(picture("a.png", number))
    assert row_of("kodak").next == "reiqa fetch --dataset kodak --mirror DIR"
    fetch.fetch("kodak", tmp_path / "mirror")
    assert (row_of("kodak").state, row_of("kodak").here) == ("fetched", 24)
    assert row_of("kodak").next == "reiqa index --dataset kodak"
    index.build_index("kodak")
    assert row_of("kodak").state == "indexed"
    assert row_of("kodak").next == "reiqa chunks --corpus kodak"


def test_a_part_of_a_set_is_not_called_the_whole(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mirror/BIQ2021/Images"
    folder.mkdir(parents=True)
    (folder / "ss01 (1).jpg").write_bytes(picture("a.jpg"))
    fetch.fetch("biq2021", tmp_path / "mirror")
    index.build_index("biq2021", allow_missing=True)
    row = row_of("biq2021")
    assert row.state == "indexed in part" and (row.here, row.images) == (1, 12_000)
    assert "1/12,000" in status.as_text(status.status_table())


def test_directions_and_proxies_are_spelled_out(project: Path) -> None:
    assert "lower is better" in row_of("live").ratings
    assert "lower" not in row_of("kadid10k").ratings
    assert row_of("demo").ratings.startswith("proxy MS-SSIM")
    assert row_of("kadis").ratings == ""


def test_the_json_form_holds_the_same_rows(project: Path) -> None:
    rows = status.status_table()
    told = json.loads(status.as_json(rows))
    assert [row["name"] for row in told] == [row.name for row in rows]
    assert told[0].keys() >= {"name", "state", "images", "gigabytes", "ratings", "licence", "next"}
    assert not layout.raw("demo").exists(), "looking makes nothing"
