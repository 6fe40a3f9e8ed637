"""Severity rises strictly with the level, on a few photographs here and on many where they are."""

from pathlib import Path
from types import ModuleType

import pytest

from reiqa.distortions import TYPES


def test_severity_rises_over_the_embedded_photographs(severity: ModuleType) -> None:
    photos = list(severity.embedded())[:2]
    published = [name for name in TYPES if TYPES[name].published]
    means = severity.measure(photos, published, paired=True)
    assert {name: severity.faults(name, values) for name, values in means.items()} == {
        name: [] for name in means
    }


@pytest.mark.mirror
@pytest.mark.slow
def test_severity_rises_over_the_pristine_photographs(severity: ModuleType, mirror: Path) -> None:
    photos = [*severity.embedded(), *severity.pristine(mirror)]
    means = severity.measure(photos, list(TYPES))
    assert {name: severity.faults(name, values) for name, values in means.items()} == {
        name: [] for name in means
    }


def test_a_flat_or_faint_type_is_found_out(severity: ModuleType) -> None:
    import numpy as np

    flat = np.array([[50.0, 0.1, 1.0], [40, 0.1, 2], [30, 0.2, 3], [20, 0.3, 4], [20, 0.4, 5]])
    assert len(severity.faults("gaussian_blur", flat)) == 3


def test_the_documented_table_names_every_type(severity: ModuleType) -> None:
    assert set(severity.THEIRS) == set(TYPES)
    text = severity.DOCS.read_text(encoding="utf-8")
    for name, distortion in TYPES.items():
        assert f"| {name} | {severity.THEIRS[name][0]} | {severity.ours(distortion)} |" in text
