"""Memory over many calls: what images of one size needed is used again or returned."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from reiqa import Scorer

#: Shapes in one pass; a second pass over them must not need more memory.
_COUNT = 24
#: MiB by which the process may grow in the second pass.
_SLACK = 12


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_images_of_the_same_sizes_again_need_no_more_memory() -> None:
    scorer, rng = Scorer.load("lite"), np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in rng.integers(32, 160, (_COUNT, 2))
    ]

    def one_pass() -> tuple[float, int]:
        for image in images:
            scorer(image)
        gc.collect()
        return resident(), len(gc.get_objects())

    one_pass()
    before, after = one_pass(), one_pass()
    assert after[0] - before[0] < _SLACK
    assert after[1] - before[1] < _COUNT  # less than one object kept for each image
