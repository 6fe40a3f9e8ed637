"""A scored image as a line of text: aligned table, CSV or JSON lines."""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from reiqa.scoring.scorer import Score

RowFormat = Literal["table", "csv", "jsonl"]


@dataclass(frozen=True)
class Record:
    """One row; numbers are None if there is an error.

    Attributes:
        image: path of the image.
        score: points, 0 to 100, higher is better.
        low, high: expected range.
        content, quality: contribution of each expert in points.
        width, height: in pixels.
        sha256: first digits of the file's digest; empty if it could not be read.
        bundle: identity of the bundle.
        error: error message, or empty.
    """

    image: str
    score: float | None
    low: float | None
    high: float | None
    content: float | None
    quality: float | None
    width: int | None
    height: int | None
    sha256: str
    bundle: str
    error: str

    @classmethod
    def scored(cls, image: str, score: Score, sha256: str, bundle: str) -> Self:
        """Create the row of a score, rounded to a thousandth of a point."""
        return cls(
            image,
            _rounded(score),
            _rounded(score.low),
            _rounded(score.high),
            _rounded(score.content),
            _rounded(score.quality),
            score.width,
            score.height,
            sha256,
            bundle,
            "",
        )

    @classmethod
    def failed(cls, image: str, sha256: str, bundle: str, error: str) -> Self:
        """Create the row of an image that cannot be scored."""
        return cls(image, None, None, None, None, None, None, None, sha256, bundle, error)


_NAMES = tuple(field.name for field in fields(Record))
_TEXTS = ("image", "sha256", "bundle", "error")
_COUNTS = ("width", "height")


def _rounded(number: float) -> float:
    # Adding zero turns -0.0 into 0.0.
    return round(float(number), 3) + 0.0


def format_header(form: RowFormat) -> str:
    """Return the header line, or "" if the format has none."""
    match form:
        case "csv":
            return ",".join(_NAMES)
        case "table":
            return " score  expected     content  quality  size         image"
    return ""


def format_row(record: Record, form: RowFormat) -> str:
    """Return a row as one line."""
    match form:
        case "csv":
            return _csv(record)
        case "jsonl":
            return json.dumps(asdict(record), ensure_ascii=False)
    return _aligned(record)


def parse_row(text: str, form: RowFormat) -> Record | None:
    """Parse a row written by `format_row` as CSV or JSON; return None if it is invalid."""
    try:
        if form == "csv":
            (cells,) = csv.reader([text], strict=True)
            tree: dict[str, Any] = {
                name: _typed(name, cell) for name, cell in zip(_NAMES, cells, strict=True)
            }
        else:
            tree = json.loads(text)
        record = Record(**tree)
        texts_valid = all(isinstance(getattr(record, name), str) for name in _TEXTS)
    except (csv.Error, ValueError, TypeError):
        return None
    return record if texts_valid and (record.score is None) == bool(record.error) else None


def _csv(record: Record) -> str:
    cells = (
        f"{value:.3f}" if isinstance(value, float) else "" if value is None else value
        for value in asdict(record).values()
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _typed(name: str, cell: str) -> str | float | int | None:
    if name in _TEXTS:
        return cell
    if not cell:
        return None
    return int(cell) if name in _COUNTS else float(cell)


def _aligned(record: Record) -> str:
    if record.score is None:
        return f"{'-':>6}  {record.image}: {record.error}"
    expected = f"{record.low:.0f} to {record.high:.0f}"
    size = f"{record.width}x{record.height}"
    return (
        f"{record.score:6.1f}  {expected:<11}  {record.content:+7.1f}  {record.quality:+7.1f}"
        f"  {size:<11}  {record.image}"
    )
