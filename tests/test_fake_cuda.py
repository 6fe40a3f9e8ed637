"""CUDA code paths on fake tensors: operands on one device, and no hidden wait for the device.

Nothing here needs a card. What the counts mean: `support.device_traffic.Traffic`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from support.device_traffic import CUDA, Traffic, fake_cuda, on_the_host
from torch import Tensor

from reiqa import params
from reiqa.chunks.recipe import ChunkRecipe, draw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import TYPES, Frame, distort, host, resolve
from reiqa.encoders import build_encoder
from reiqa.features import encoding
from reiqa.params import BankParams, ChunkParams, Params
from reiqa.pretrain import augmentation, distributed, loop
from reiqa.pretrain.distortion_losses import label_pairs
from reiqa.pretrain.views import Views

PUBLISHED = resolve(BankParams())
ALONE = distributed.DistContext()
LOSSES = {"sharing": 2, "contrast": 1.0, "type": 1.0, "level": 1.0, "severity": 1.0}


class Codecs:
    """Stands in for the pool of codecs, which needs real pixels; counts the images."""

    def __init__(self) -> None:
        self.images = 0

    def submit(self, image: Tensor, *_: object) -> Tensor:
        assert image.device.type == "cpu"
        self.images += 1
        return image

    @staticmethod
    def collect(running: list[Tensor]) -> Tensor:
        return torch.stack([image.clone() for image in running])


@pytest.fixture
def codecs(monkeypatch: pytest.MonkeyPatch) -> Codecs:
    counted = Codecs()
    monkeypatch.setattr(host, "submit", counted.submit)
    monkeypatch.setattr(host, "collect", counted.collect)
    return counted


def test_the_count_sees_what_makes_the_host_wait() -> None:
    table = torch.arange(3)
    with fake_cuda() as traffic:
        values = torch.empty(4, 5, device=CUDA)
        assert not traffic.waits
        for wait in (
            lambda: values.cpu(),
            lambda: values.sum().item(),
            lambda: bool((values > 0).all()),
            lambda: values[[0, 1]],
            lambda: values[table],
            lambda: torch.tensor([1.0], device=CUDA),
            lambda: table.to(CUDA, non_blocking=True),
        ):
            before = len(traffic.waits)
            wait()
            assert len(traffic.waits) == before + 1
        table.pin_memory().to(CUDA, non_blocking=True)
        assert len(traffic.waits) == 7 and (traffic.uploads, traffic.downloads) == (5, 1)
        with pytest.raises(RuntimeError, match="device"):
            values + torch.zeros(5)


def test_every_type_runs_on_the_device_and_only_codecs_leave_it(codecs: Codecs) -> None:
    frames = [Frame(200, 180, 7 * n, 9 * n) for n in range(3)]
    with fake_cuda() as traffic:
        images = torch.empty(3, 3, 96, 80, dtype=torch.uint8, device=CUDA)
        for name, kind in TYPES.items():
            codecs.images = traffic.downloads = 0
            traffic.waits.clear()
            out = distort(images, [name] * 3, [1, 3, 5], [1, 2, 3], frames)
            assert out.device.type == "cuda" and out.shape == images.shape
            assert traffic.waits == ["download"] * kind.on_host, name
            assert codecs.images == 3 * kind.on_host, name
        floats = torch.empty(2, 3, 32, 32, device=CUDA)
        assert distort(floats, ["jitter", "darken"], [1, 5], [1, 2]).dtype == torch.float32


def recipes(count: int, n_aug: int = 11, size: int = 400) -> list[ChunkRecipe]:
    chunks = ChunkParams(corpora=["c"], n_aug=n_aug, patch=16)
    drawn = [draw_recipe(chunks, PUBLISHED, 0, "c", f"{n}", 0, size, size) for n in range(count)]
    return [recipe for recipe in drawn if recipe is not None]


def windows(drawn: list[ChunkRecipe]) -> list[Tensor]:
    """Windows as a loader with ``pin_memory`` gives them."""
    sizes = [(3, recipe.height, recipe.width) for recipe in drawn]
    return [torch.empty(size, dtype=torch.uint8).pin_memory() for size in sizes]


def test_a_step_of_chunks_is_rendered_in_a_few_calls_that_wait_for_nothing(codecs: Codecs) -> None:
    drawn = recipes(32)
    with fake_cuda() as traffic:
        given = windows(drawn)
        before = traffic.total
        pairs = render(given, drawn, CUDA)
        assert pairs.query.device.type == "cuda" and pairs.query.shape[:3] == (32, 2, 12)
        assert traffic.waits == [] and traffic.downloads == 0
        assert codecs.images == sum("jpeg" in recipe.types for recipe in drawn)
        # 19,500 when each level of each type was a group, and each crop a slice.
        assert traffic.total - before < 2900
        assert traffic.uploads < 100


def settings(expert: str, precision: str = "float32", **training: object) -> Params:
    common = {
        "epochs": 2, "batch_size": 4, "queue_size": 24, "projection_dim": 16, **training,
    }  # fmt: skip
    trained = {"source": "pretrain", "backbone": "mobilenet_v3_small", "training": common}
    other = {"source": "package", "backbone": "efficientnet_lite0"}
    return Params.model_validate(
        {
            "preset": "test",
            "datasets": ["demo"],
            "compute": {"device": "cuda", "precision": precision},
            "chunks": {"corpora": ["none"], "n_aug": 3, "patch": 16},
            "content": {**trained, "corpora": ["none"], "view": 32}
            if expert == "content"
            else other,
            "quality": trained if expert == "quality" else other,
        }
    )


class Source:
    """As much of a view source as a run asks for before its first step."""

    inputs: tuple[()] = ()
    types, pairs = len(PUBLISHED), 8

    def __len__(self) -> int:
        return 12


@pytest.fixture
def run(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Build a run on fake CUDA; its weights are drawn on real tensors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop.moco, "MoCo", on_the_host(loop.moco.MoCo))
    monkeypatch.setattr(
        loop.encoders,
        "initial_encoder",
        on_the_host(lambda expert, *_: build_encoder("mobilenet_v3_small", expert)),
    )

    def build(expert: params.ExpertName, known: Params, ranks=ALONE):
        return loop.PretrainingRun(expert, known, Source(), CUDA, ranks)

    return build


def check_steps(traffic: Traffic, started: loop.PretrainingRun, views: Views) -> None:
    """Take two steps: launching one waits for nothing, reading its metrics once."""
    for _ in range(2):
        traffic.waits.clear()
        launched = started.launch_step(views)
        assert traffic.waits == []
        measures = started.read_metrics(launched)
        assert traffic.waits == ["download"]
        assert {"loss", "top1", "learning_rate"} <= {*measures}
    assert all(p.is_cuda and p.grad.is_cuda for p in started.moco.query.parameters())


@pytest.mark.parametrize(
    "precision, training",
    [
        ("float32", {"optimizer": "lars", "distortion_losses": LOSSES}),
        ("bf16", {"optimizer": "adamw", "negatives": "queue+chunk", "bn_splits": 2}),
    ],
)
def test_a_quality_step_waits_only_for_its_metrics(run, codecs, precision, training) -> None:
    drawn = recipes(4, n_aug=3, size=64)
    known = settings("quality", precision, **training)
    with fake_cuda() as traffic:
        started = run("quality", known)
        pairs = render(windows(drawn), drawn, CUDA)
        labels = label_pairs(pairs, drawn) if "distortion_losses" in training else None
        check_steps(
            traffic, started, Views(pairs.query.flatten(0, 1), pairs.key.flatten(0, 1), labels)
        )


def test_labels_of_distortions_wait_for_nothing(codecs) -> None:
    drawn = recipes(2, n_aug=3, size=64)
    with fake_cuda() as traffic:
        pairs = render(windows(drawn), drawn, CUDA)
        label_pairs(pairs, drawn)
        assert traffic.waits == []


def test_a_content_step_augments_its_batch_at_once(run) -> None:
    known = settings("content", "bf16", optimizer="adamw")
    draws, shapes = [], [(3, 60 + n, 80 - n) for n in range(8)]
    torch.manual_seed(0)
    for shape in shapes:
        pixels = torch.empty(shape, dtype=torch.uint8)
        draws.append((augmentation.draw_view(pixels, 32), augmentation.draw_view(pixels, 32)))
    with fake_cuda() as traffic:
        started = run("content", known)
        traffic.waits.clear()
        before = traffic.total
        photographs = [torch.empty(shape, dtype=torch.uint8).pin_memory() for shape in shapes]
        query, key = augmentation.make_views(photographs, draws, 32, CUDA).unbind(1)
        assert traffic.waits == [] and query.shape == (8, 3, 32, 32)
        # As many for any batch: photographs are cropped and resized together.
        assert traffic.total - before < 600
        check_steps(traffic, started, Views(query[:, None], key[:, None]))


@contextmanager
def two_processes() -> Iterator[distributed.DistContext]:
    """Be the first of two processes that exchange nothing: collectives do no work."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        yield distributed.DistContext(0, 2)
    finally:
        dist.destroy_process_group()


def test_a_step_of_two_processes_shuffles_without_waiting(run, monkeypatch) -> None:
    """DDP's reducer is C++ with a real stream per card: the module is called as it is."""
    monkeypatch.setattr(loop, "DistributedDataParallel", lambda query: query)
    known = settings("quality", optimizer="lars", batchnorm="shuffle")
    with two_processes() as ranks, fake_cuda() as traffic:
        started = run("quality", known, ranks)
        views = Views(*(torch.empty(4, 4, 3, 32, 32, device=CUDA) for _ in range(2)))
        check_steps(traffic, started, views)
        assert started.moco.negatives(24).shape == (24, 16)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("pooling", ["last", "stages"])
def test_features_at_both_scales_are_downloaded_once(pooling, precision, monkeypatch) -> None:
    for name in ("optimize_for_inference", "with_pooling"):
        monkeypatch.setattr(encoding, name, on_the_host(getattr(encoding, name)))
    monkeypatch.setattr(encoding.copy, "deepcopy", on_the_host(copy.deepcopy))
    encoder = build_encoder("resnet18", "quality")
    pixels = [torch.zeros(64, 96, 3, dtype=torch.uint8).numpy()] * 2
    with fake_cuda() as traffic:
        frozen = encoding.FrozenEncoder(encoder, (1.0, 0.5), CUDA, precision, pooling)
        traffic.waits.clear()
        views = encoding.scaled_views(encoding.to_batch(pixels, CUDA), (1.0, 0.5))
        assert traffic.waits == []
        assert frozen.encode(views).shape == (2, frozen.width)
        assert traffic.waits == ["download"]


def test_the_scorer_as_a_module_runs_forward_and_backward() -> None:
    from reiqa.scoring import Scorer

    module = Scorer.load("lite").as_module()
    with fake_cuda() as traffic:
        moved = module.to(CUDA)
        traffic.waits.clear()
        images = torch.empty(2, 3, 96, 128, device=CUDA, requires_grad=True)
        scores = moved(images)
        scores.sum().backward()
        assert scores.shape == (2,) and scores.is_cuda
        assert images.grad is not None and images.grad.is_cuda
        assert traffic.waits == []
