"""The probe's photographs stay what they are, or its numbers would move."""

import pytest

from reiqa.data import demo
from reiqa.errors import WorkFailedError
from reiqa.probe import photographs

#: Height, width and mean of each, in the order in which retrieval sees them.
PINNED = {
    "chelsea": (300, 451, 115.31),
    "china": (427, 640, 143.70),
    "coffee": (400, 600, 98.62),
    "flower": (427, 640, 61.90),
    "astronaut": (512, 512, 114.60),
    "grace_hopper": (600, 512, 80.45),
    "rocket": (427, 640, 65.28),
}


def test_the_photographs_are_pinned():
    loaded = photographs.load_photographs()
    assert list(loaded) == list(PINNED)
    for name, pixels in loaded.items():
        assert pixels.shape == (*PINNED[name][:2], 3)
        # Decoders of JPEG files differ by less.
        assert pixels.mean() == pytest.approx(PINNED[name][2], abs=0.1)


def test_no_photograph_is_in_a_corpus():
    assert not set(photographs.PHOTOGRAPHS) & set(demo.PHOTOGRAPHS["demo_corpus"])


def test_an_absent_photograph_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(photographs.PHOTOGRAPHS, "moon", ("skimage", "no_such_photograph"))
    with pytest.raises(WorkFailedError, match=r"no_such_photograph: .* skimage .*lock"):
        photographs.load_photographs()
