"""The scorer in onnxruntime gives the points of the bundle in torch, for images of every kind."""

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from reiqa import images, tensors
from reiqa.scoring import Scorer

COUNT = 200
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


def test_200_images_have_the_points_of_the_torch_module() -> None:
    scorer = Scorer.load("lite")
    module = scorer.as_module()
    differences = []
    for image in pictures():
        batch = tensors.to_tensor(images.to_rgb(image))[None]
        with torch.inference_mode():
            differences.append(abs(float(module(batch)) - scorer(image)))
    assert len(differences) == COUNT
    assert max(differences) < 1e-3


FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@FORKS
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


@FORKS
@pytest.mark.parametrize("call", ["list", "prepared", "expert"])
def test_processes_forked_while_threads_score_can_score(call: str) -> None:
    scorer = Scorer.load("lite")
    small, large = (Image.fromarray(data.chelsea()[:side, :side]) for side in (64, 256))
    expected, done = float(scorer(small)), threading.Event()
    prepared = scorer.prepare(large)
    calls = {
        "list": lambda: scorer([large, large.copy(), large.copy()]),
        "prepared": lambda: scorer.score_prepared(prepared),
        "expert": lambda: scorer.expert_points("quality", prepared.batch),
    }

    def keep_scoring() -> None:
        while not done.is_set():
            calls[call]()

    threads = [threading.Thread(target=keep_scoring) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # ends a child that hangs
                os._exit(float(scorer([small, small.copy()])[1]) != expected)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
