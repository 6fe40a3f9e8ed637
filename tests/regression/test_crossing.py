"""Train on one set, test on another."""

import csv

import numpy as np
import pytest

from reiqa import layout
from reiqa.regression import cross, fit


@pytest.fixture
def pair(make_set, params):
    make_set("clive", count=60)
    make_set("koniq10k", count=50)
    return params.model_copy(update={"datasets": ["clive", "koniq10k"]})


def rows_of_cross():
    with layout.CROSS.open() as stream:
        return list(csv.DictReader(stream))


def test_every_ordered_pair_and_variant_has_a_row(pair):
    cross(pair)
    found = [(row["train"], row["test"], row["variant"]) for row in rows_of_cross()]
    assert found == [
        (train, test, variant)
        for train, test in (("clive", "koniq10k"), ("koniq10k", "clive"))
        for variant in ("content", "quality", "both")
    ]
