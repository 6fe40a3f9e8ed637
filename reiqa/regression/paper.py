"""The published results, shown next to our own: ``published.yaml``, which names their sources."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from reiqa.params import Variant
from reiqa.validation import read_yaml

FILE = Path(__file__).with_name("published.yaml")


class PaperResult(NamedTuple):
    """Published results of one dataset and variant; None for a value that is not published."""

    srcc: float
    plcc: float | None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedTable(_Record):
    """A table of the authors' slides, without the rows of Re-IQA.

    Attributes:
        caption: what the table shows.
        source: where the numbers are printed.
        note: a remark on the numbers, or empty.
        variants: variants of Re-IQA that the table contains.
        tests: test datasets, or pairs of training and test dataset.
        competitors: SRCC of each other method, one per test.
    """

    caption: str
    source: str
    note: str = ""
    variants: tuple[Variant, ...]
    tests: tuple[str, ...] | tuple[tuple[str, str], ...]
    competitors: dict[str, tuple[float, ...]]

    @model_validator(mode="after")
    def _is_rectangular(self) -> "PublishedTable":
        for method, values in self.competitors.items():
            if len(values) != len(self.tests):
                raise ValueError(f"{method}: {len(values)} values for {len(self.tests)} tests")
        return self


class Published(_Record):
    """Content of ``published.yaml``.

    Attributes:
        names: names of datasets as papers print them.
        within: results of Re-IQA by dataset and variant.
        across: SRCC of both experts of Re-IQA by training dataset and test dataset.
        tables: the tables of the slides by name.
    """

    names: dict[str, str]
    within: dict[str, dict[Variant, PaperResult]]
    across: dict[str, dict[str, float]]
    tables: dict[str, PublishedTable]


@cache
def published() -> Published:
    """Return all published results."""
    return Published.model_validate(read_yaml(FILE))


def within(dataset: str, variant: Variant) -> PaperResult | None:
    """Return the result of Re-IQA on a dataset, or None if it is not published."""
    return published().within.get(dataset, {}).get(variant)


def across(train: str, test: str) -> float | None:
    """Return SRCC of both experts of Re-IQA, fitted on one dataset and tested on another."""
    return published().across.get(train, {}).get(test)
