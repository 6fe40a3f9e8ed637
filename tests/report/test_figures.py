"""Charts of the smallest data that a run can leave behind."""

import numpy as np
import pytest

from reiqa.report import figures


@pytest.mark.parametrize("steps", [1, 2, 3, 200])
def test_a_run_of_any_length_has_its_curve(steps: int) -> None:
    course = np.linspace(2.0, 1.0, steps)
    drawn = figures.curves("run", "A run", np.arange(1, steps + 1.0), {"loss": course}, "quality")
    assert f"{steps} step" in drawn.caption
    assert drawn.svg.startswith("<svg")
