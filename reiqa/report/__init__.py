"""Tables, charts and one static page of what a run came to."""

from pathlib import Path

from reiqa.params import Params


def write_report(params: Params) -> Path:
    """Write every table and the page of this folder's results (see `reiqa.report.page.write`)."""
    from reiqa.report import page

    return page.write_page(params)


def table_text(coloured: bool | None = None) -> str:
    """Return the results table for a terminal (see `reiqa.report.tables.table_text`)."""
    from reiqa.report import tables

    return tables.table_text(coloured)
