"""The registry, and what `distort` accepts, refuses and promises of any type."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from reiqa.distortions import TYPES, Frame, distort, resolve
from reiqa.errors import BadInputError
from reiqa.params import BankParams

ALL = list(TYPES)


def test_the_published_bank_has_25_types_in_the_published_order() -> None:
    names = resolve(BankParams())
    assert len(names) == 25
    assert names[:3] == ("gaussian_blur", "lens_blur", "colour_diffusion")
    assert names[21] == "jitter" and names[-1] == "resize_lanczos"


def test_extras_come_last_and_only_when_asked_for() -> None:
    names = resolve(BankParams(extras=["jpeg2000", "motion_blur"]))
    assert len(names) == 27 and names[25:] == ("motion_blur", "jpeg2000")
    assert resolve(BankParams(types=["jpeg", "lens_blur"])) == ("lens_blur", "jpeg")


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="gausian_blur"):
        resolve(BankParams(types=["gausian_blur"]))


@pytest.mark.parametrize("name", ALL)
def test_five_levels_all_different(name: str) -> None:
    assert len(set(TYPES[name].levels)) == 5


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import sys, reiqa.distortions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2), (33, 17)])
def test_any_size_down_to_one_pixel_is_distorted(name: str, shape: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *shape)
    for level in (1, 5):
        distorted = distort(images, [name] * 2, [level] * 2, [1, 2])
        assert distorted.shape == images.shape


@pytest.mark.parametrize("name", ALL)
def test_every_level_changes_the_photograph(name: str, image: Tensor) -> None:
    for level in range(1, 6):
        assert not torch.equal(distort(image, [name], [level], [3]), image)


def test_floats_give_the_same_picture_as_bytes_on_the_8_bit_grid(image: Tensor) -> None:
    types = ["brighten", "jpeg", "white_noise", "resize_lanczos"]
    batch = image.expand(4, -1, -1, -1)
    in_bytes = distort(batch, types, [1, 2, 3, 4], [0, 1, 2, 3])
    in_floats = distort(batch.float() / 255, types, [1, 2, 3, 4], [0, 1, 2, 3])
    assert in_floats.dtype == torch.float32
    assert torch.equal(in_floats, in_bytes.float() / 255)


def test_the_input_is_left_as_it_was(image: Tensor) -> None:
    before = image.clone()
    distort(image.expand(len(ALL), -1, -1, -1), ALL, [5] * len(ALL), [1] * len(ALL))
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    "name", ["gaussian_blur", "lens_blur", "white_noise", "denoise", "jitter", "resize_bicubic"]
)
def test_the_mean_does_not_darken(name: str) -> None:
    # Truncation would take half a grey level off; nothing clips in a picture of mid-greys.
    grey = torch.randint(110, 146, (1, 3, 256, 256), generator=torch.manual_seed(0))
    images = grey.to(torch.uint8)
    distorted = distort(images, [name], [2], [5])
    assert abs(float(distorted.float().mean() - images.float().mean())) < 0.06


def test_wrong_input_is_refused_in_one_line(image: Tensor) -> None:
    with pytest.raises(BadInputError, match="unknown type fog"):
        distort(image, ["fog"], [1], [0])
    with pytest.raises(BadInputError, match="level 6"):
        distort(image, ["jpeg"], [6], [0])
    with pytest.raises(BadInputError, match="one type, level, seed and frame"):
        distort(image, ["jpeg"], [1, 2], [0])
    with pytest.raises(BadInputError, match="shape"):
        distort(image[:, :1], ["jpeg"], [1], [0])
    with pytest.raises(BadInputError, match="shape"):
        distort(image[..., :0], ["jpeg"], [1], [0])
    with pytest.raises(BadInputError, match="outside its frame"):
        distort(image, ["jpeg"], [1], [0], [Frame(240, 336, 1, 0)])
