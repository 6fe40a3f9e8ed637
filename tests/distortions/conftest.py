"""One embedded photograph, and the plain bank that ours is held against."""

import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data
from torch import Tensor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photo() -> npt.NDArray[np.uint8]:
    """A part of a photograph whose sides every factor of the bank divides: 240 x 336."""
    return data.chelsea()[30:270, 60:396].copy()


@pytest.fixture(scope="session")
def image(photo: npt.NDArray[np.uint8]) -> Tensor:
    """The same as ``(1, 3, 240, 336)`` uint8."""
    return torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous()


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """The types in the usual style, with SciPy, scikit-image and Pillow."""
    return _load("plain")


@pytest.fixture(scope="session")
def severity() -> ModuleType:
    """The script that measures how severity rises."""
    return _load("severity")


def _load(name: str) -> ModuleType:
    specification = util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module
