"""The scorer in onnxruntime gives the points of the bundle in torch, for images of every kind."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from reiqa import images, tensors
from reiqa.scoring import Scorer

#: Six of each mode.
COUNT = 48
MODES = ("RGB", "L", "RGBA", "P", "CMYK", "1", "LA", "YCbCr")


def pictures() -> Iterator[Image.Image]:
    """Yield crops of photographs at many sizes, from 32 pixels, in every mode."""
    photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = photographs[number % len(photographs)]
        height, width = (int(side) for side in np.exp(rng.uniform(np.log(32), np.log(280), 2)))
        top, left = (
            rng.integers(0, a - b) for a, b in zip(pixels.shape, (height, width), strict=False)
        )
        crop = Image.fromarray(pixels[top : top + height, left : left + width])
        yield crop.convert(MODES[number % len(MODES)])


def test_images_have_the_points_of_the_torch_module() -> None:
    scorer = Scorer.load("lite")
    module = scorer.as_module()
    differences = []
    for image in pictures():
        batch = tensors.to_tensor(images.to_rgb(image))[None]
        with torch.inference_mode():
            differences.append(abs(float(module(batch)) - scorer(image)))
    assert len(differences) == COUNT
    assert max(differences) < 1e-3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_forked_after_a_score_can_score() -> None:
    scorer, image = Scorer.load("lite"), Image.fromarray(data.chelsea()[:64, :64])
    expected = float(scorer([image, image.copy()])[0])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, f"{float(scorer([image, image.copy()])[1])!r}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert float(stream.read()) == expected
    assert os.waitpid(child, 0)[1] == 0
