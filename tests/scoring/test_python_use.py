"""The shipped scorer inside other people's programs: their torch state, copies, and mistakes."""

import copy
import io
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from reiqa import Scorer, devices
from reiqa.errors import BadInputError
from reiqa.scoring import scorer as scoring

#: Points; the module in torch, the scorer in onnxruntime.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def lite() -> Scorer:
    return Scorer.load("lite")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return data.chelsea()[:160, :200]


@pytest.fixture
def batch(photograph: np.ndarray) -> torch.Tensor:
    one = torch.from_numpy(photograph.transpose(2, 0, 1).copy()).float() / 255
    return torch.stack([one, torch.rand(one.shape, generator=torch.Generator().manual_seed(0))])


def saved_and_loaded(module: nn.Module) -> nn.Module:
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    loaded: nn.Module = torch.load(stream, weights_only=False)
    return loaded


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "as it is": lambda module: module,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": saved_and_loaded,
    "train()": lambda module: module.train(),
    "inside a trained module": lambda module: nn.Sequential(module).train()[0],
}


@pytest.mark.parametrize("how", COPIES)
def test_the_module_scores_as_the_scorer_does(
    lite: Scorer, photograph: np.ndarray, batch: torch.Tensor, how: str
) -> None:
    module = COPIES[how](lite.as_module())
    before = {name: value.clone() for name, value in module.named_buffers()}
    with torch.no_grad():
        found = module(batch)
        alone = module(batch[:1])
    assert float(found[0]) == pytest.approx(float(lite(photograph)), abs=TOLERANCE)
    assert float(alone[0]) == pytest.approx(float(found[0]), abs=TOLERANCE)
    for name, value in module.named_buffers():
        assert torch.equal(value, before[name]), f"a forward pass changed {name}"


def test_the_module_in_double_precision_is_the_same(lite: Scorer, batch: torch.Tensor) -> None:
    single, double = lite.as_module(), lite.as_module().double()
    with torch.no_grad():
        np.testing.assert_allclose(double(batch.double()), single(batch), atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_module_in_half_precision_loses_what_its_encoders_round(
    lite: Scorer, photograph: np.ndarray, batch: torch.Tensor, dtype: torch.dtype
) -> None:
    module = lite.as_module().to(dtype)
    # A regressor of bfloat16 numbers would be off by points.
    assert {value.dtype for value in module.head.buffers()} == {torch.float64}
    with torch.no_grad():
        assert module(batch).dtype == torch.float32
        assert float(module(batch)[0]) == pytest.approx(float(lite(photograph)), abs=0.5)
        assert module(batch.to(dtype)).dtype == dtype


def test_auto_is_the_cpu_without_a_gpu_and_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REIQA_FAKE_GPUS", "0")
    monkeypatch.setattr(scoring, "find_spec", lambda name: None)
    assert scoring._checked_device("auto") == "cpu"
    monkeypatch.undo()
    monkeypatch.setenv("REIQA_FAKE_GPUS", "")
    assert scoring._checked_device("auto") == "cpu"
    monkeypatch.setenv("REIQA_FAKE_GPUS", "0")
    assert scoring._checked_device("auto") == "cuda"


def test_images_of_another_type_than_the_modules_are_taken(
    lite: Scorer, batch: torch.Tensor
) -> None:
    module = lite.as_module()
    with torch.no_grad():
        found = module(batch.double())
        np.testing.assert_allclose(found, module(batch), atol=TOLERANCE)
    assert found.dtype == torch.float64
    with pytest.raises(BadInputError, match="floats"):
        module((batch * 255).to(torch.uint8))


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda scorer: pickle.loads(pickle.dumps(scorer))]
)
def test_a_copy_of_the_scorer_scores_the_same(
    lite: Scorer, photograph: np.ndarray, copied: Callable[[Scorer], Scorer]
) -> None:
    assert copied(lite)(photograph) == lite(photograph)


def test_a_copy_refuses_a_folder_that_holds_another_bundle_now(
    lite: Scorer, tmp_path: Path
) -> None:
    folder = shutil.copytree(lite.bundle.folder, tmp_path / "mine")
    packed = pickle.dumps(Scorer.load(folder))
    manifest = folder / "bundle.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(BadInputError, match="the bundle has changed"):
        pickle.loads(packed)


def test_two_threads_may_share_the_module(lite: Scorer, batch: torch.Tensor) -> None:
    module = lite.as_module()
    with torch.no_grad():
        expected = [float(module(image[None])) for image in batch]
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        with torch.no_grad():
            found[number] = [float(module(batch[number][None])) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        np.testing.assert_allclose(found[number], expected[number], atol=TOLERANCE)


@pytest.fixture
def torch_state() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


STATES: dict[str, Callable[[], object]] = {
    "default type float64": lambda: torch.set_default_dtype(torch.float64),
    "default type float16": lambda: torch.set_default_dtype(torch.float16),
    "default device meta": lambda: torch.set_default_device("meta"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.usefixtures("torch_state")
def test_global_torch_state_does_not_leak_in(
    lite: Scorer, photograph: np.ndarray, batch: torch.Tensor, state: str
) -> None:
    expected = float(lite(photograph))
    STATES[state]()
    scorer = Scorer.load("lite")
    assert float(scorer(photograph)) == expected
    with torch.no_grad():
        assert float(scorer.as_module()(batch)[0]) == pytest.approx(expected, abs=TOLERANCE)
    if "type" in state:
        assert torch.get_default_dtype() == getattr(torch, state.split()[-1])


CONTEXTS: dict[str, Callable[[], object]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_do_not_leak_in(
    lite: Scorer, photograph: np.ndarray, batch: torch.Tensor, context: str
) -> None:
    expected = float(lite(photograph))
    with CONTEXTS[context]():
        scorer = Scorer.load("lite")
        module = scorer.as_module()
        assert float(scorer(photograph)) == expected
    # What was made in there is not marked by it: gradients flow.
    image = batch[:1].clone().requires_grad_()
    module(image).sum().backward()
    assert image.grad is not None and image.grad.abs().max() > 0


def test_one_object_given_several_times_is_read_once(
    lite: Scorer, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    Image.fromarray(photograph).save(stream, "PNG")
    lazy, read, see = Image.open(io.BytesIO(stream.getvalue())), [], Scorer.prepare
    monkeypatch.setattr(devices, "cpu_count", lambda: 4)
    monkeypatch.setattr(
        Scorer, "prepare", lambda self, given: read.append(given) or see(self, given)
    )
    expected = lite(photograph)
    read.clear()
    assert lite([lazy, stream, lazy, stream, lazy]) == [expected] * 5
    assert len(read) == 2


def test_tf32_is_off_until_the_last_of_several_threads_is_done() -> None:
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, convolution.fp32_precision
    gpu = torch.device("cuda")
    matmul.fp32_precision = convolution.fp32_precision = "tf32"
    try:
        first, second = devices.ieee_float32(gpu), devices.ieee_float32(gpu)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert (matmul.fp32_precision, convolution.fp32_precision) == ("ieee", "ieee")
        second.__exit__(None, None, None)
        assert (matmul.fp32_precision, convolution.fp32_precision) == ("tf32", "tf32")
    finally:
        matmul.fp32_precision, convolution.fp32_precision = before


def test_premultiplied_colours_are_seen_on_white(lite: Scorer) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert lite(clear.convert("RGBa")) == lite(clear) == lite(Image.new("RGB", (32, 32), "white"))


@pytest.mark.parametrize("name", [None, 3, b"lite", "x" * 300, "nul\0", "", Path("nowhere")])
def test_what_names_no_bundle_is_refused(name: object) -> None:
    with pytest.raises(BadInputError) as refusal:
        Scorer.load(name)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


def test_paths_and_binary_files_of_every_kind(
    lite: Scorer, photograph: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photograph).save(path)
    expected = lite(path)
    stream = io.BytesIO(path.read_bytes())
    stream.seek(7)
    with path.open("rb") as opened, os.scandir(tmp_path) as entries:
        for given in (str(path), PurePosixPath(path), next(entries), stream, opened):
            assert lite(given) == expected
    assert not stream.closed


WRONG: dict[str, Callable[[], object]] = {
    "None": lambda: None,
    "int": lambda: 3,
    "bytes": lambda: b"\x89PNG",
    "path of bytes": lambda: b"/x.jpg",
    "text file": lambda: io.StringIO("hello"),
    "empty file": io.BytesIO,
    "folder": lambda: Path(__file__).parent,
    "absent": lambda: "nowhere.jpg",
    "generator": lambda: (image for image in [Image.new("RGB", (9, 9))]),
    "list with None": lambda: [Image.new("RGB", (9, 9)), None],
    "dict": dict,
    "empty image": lambda: Image.new("RGB", (0, 0)),
    "premultiplied": lambda: Image.new("LA", (9, 9)).convert("La"),
    "closed": lambda: closed_image(),
    "cut off": lambda: Image.open(io.BytesIO(png_bytes()[:-300])),
    "meta": lambda: torch.empty(3, 8, 8, device="meta"),
    "meta batch": lambda: torch.empty(2, 3, 8, 8, device="meta"),
    "sparse": lambda: torch.rand(3, 8, 8).to_sparse(),
    "complex": lambda: torch.zeros(3, 8, 8, dtype=torch.complex64),
    "objects": lambda: np.array([[None]]),
    "scalar": lambda: np.array(1.0),
}


def png_bytes() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(data.chelsea()[:64, :64]).save(stream, "PNG")
    return stream.getvalue()


def closed_image() -> Image.Image:
    image = Image.open(io.BytesIO(png_bytes()))
    image.close()
    return image


@pytest.mark.parametrize("what", WRONG)
def test_anything_else_is_refused_in_one_line(lite: Scorer, what: str) -> None:
    with pytest.raises(BadInputError) as refusal:
        lite(WRONG[what]())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "mps", "meta", "", None, 1.5])
def test_a_device_that_is_not_here_is_refused(device: object) -> None:
    with pytest.raises(BadInputError, match=r"allowed: auto, cpu|use cpu"):
        Scorer.load("lite", device)  # type: ignore[arg-type]
