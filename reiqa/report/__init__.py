"""Report the results of a run as tables, charts and one static page."""

from pathlib import Path

from reiqa.params import Params


def write_report(params: Params) -> Path:
    """Write all tables and the report page (see `reiqa.report.page.write_page`)."""
    from reiqa.report import page

    return page.write_page(params)


def table_text(coloured: bool | None = None) -> str:
    """Return the results table for a terminal (see `reiqa.report.tables.table_text`)."""
    from reiqa.report import tables

    return tables.table_text(coloured)
