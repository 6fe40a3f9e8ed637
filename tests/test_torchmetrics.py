"""The metric of TorchMetrics: the scorer's points, reduced, over batches and processes."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor
from torchvision.transforms import Normalize

from reiqa.errors import BadInputError
from reiqa.scoring import Scorer
from reiqa.torchmetrics import ReIQA

torchmetrics = pytest.importorskip("torchmetrics")

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Five images of increasingly coarse structure."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(1, 3, 12 * n, 16 * n, generator=generator) for n in range(5, 0, -1)]
    return torch.cat([torch.nn.functional.interpolate(part, size=(60, 80)) for part in parts])


@pytest.fixture(scope="module")
def points(images: Tensor) -> np.ndarray:
    """The scorer's own points of the images."""
    return np.array(Scorer.load("lite")(images))


@pytest.fixture(scope="module")
def loaded() -> ReIQA:
    return ReIQA()


@pytest.fixture
def metric(loaded: ReIQA) -> ReIQA:
    loaded.reset()
    return loaded


def test_it_has_the_interface_of_arniqa(metric: ReIQA) -> None:
    from torchmetrics.image.arniqa import ARNIQA

    for name in ("is_differentiable", "higher_is_better", "full_state_update", "feature_network"):
        assert getattr(metric, name) == getattr(ARNIQA, name)
    assert (metric.plot_lower_bound, metric.plot_upper_bound) == (0, 100)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_reduces_the_scorers_points_over_all_batches(images, points, reduction) -> None:
    metric = ReIQA(reduction=reduction)
    first = metric(images[:2])
    metric.update(images[2:])
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    np.testing.assert_allclose(first, reduce(points[:2]), atol=2 * TOLERANCE)
    np.testing.assert_allclose(metric.compute(), reduce(points), atol=5 * TOLERANCE)
    assert metric.compute().dtype == torch.float32
    metric.reset()
    metric.update(images[3:4])
    np.testing.assert_allclose(metric.compute(), reduce(points[3:4]), atol=TOLERANCE)


def test_batches_of_different_sizes_weigh_by_their_images(metric, images, points) -> None:
    metric.update(images[:4])
    metric.update(torch.nn.functional.interpolate(images[4:], scale_factor=2))
    bigger = Scorer.load("lite")(torch.nn.functional.interpolate(images[4:], scale_factor=2))
    expected = (points[:4].sum() + bigger[0]) / 5
    assert float(metric.compute()) == pytest.approx(expected, abs=TOLERANCE)


def test_normalized_images_score_as_they_did_before(images, points) -> None:
    normalized = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(images)
    metric = ReIQA(reduction="none", normalize=False)
    np.testing.assert_allclose(metric(normalized), points, atol=TOLERANCE)


def test_gradients_reach_the_images(metric, images) -> None:
    batch = images[:2].clone().requires_grad_()
    metric(batch).backward()
    assert batch.grad is not None and batch.grad.abs().max() > 0
    assert not metric.sum_scores.requires_grad


def test_an_update_keeps_no_graph(images) -> None:
    metric = ReIQA(reduction="none")
    metric.update(images[:1].clone().requires_grad_())
    assert not metric.scores[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_float_types_are_scored(metric, images, points, dtype) -> None:
    found = metric(images.to(dtype))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(points.mean(), abs=0.5)


def test_mixed_precision_changes_points_a_little(images, points) -> None:
    metric, scorer = ReIQA(autocast=True, reduction="none"), Scorer.load("lite")
    photograph = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None] / 255
    expected = float(scorer(photograph)[0])
    assert float(metric(photograph)) != pytest.approx(expected, abs=1e-6)
    assert float(metric(photograph)) == pytest.approx(expected, abs=0.5)
    # Noise moves more.
    assert float(metric(images).mean()) == pytest.approx(points.mean(), abs=1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_continues_from_the_same_state(metric, images, points, copied) -> None:
    metric.update(images[:2])
    other = copied(metric)
    other.update(images[2:])
    assert float(other.compute()) == pytest.approx(points.mean(), abs=TOLERANCE)
    assert float(metric.compute()) == pytest.approx(points[:2].mean(), abs=TOLERANCE)


def test_it_belongs_into_a_collection(metric, images, points) -> None:
    found = torchmetrics.MetricCollection({"quality": metric})(images)
    assert float(found["quality"]) == pytest.approx(points.mean(), abs=TOLERANCE)


def test_its_network_never_trains(metric) -> None:
    assert not metric.train().model.training
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_values_are_plotted_between_the_ends_of_the_scale(metric, images) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    metric.update(images)
    _, axis = metric.plot()
    assert axis.get_ylim()[0] <= 0 and axis.get_ylim()[1] >= 100
    figure, _ = metric.plot([metric(images[:1]), metric(images[1:])])
    assert figure.axes


def test_arguments_that_are_not_allowed_are_refused() -> None:
    with pytest.raises(ValueError, match="reduction: must be mean, sum or none"):
        ReIQA(reduction="median")
    with pytest.raises(ValueError, match="normalize: must be a bool"):
        ReIQA(normalize="yes")
    with pytest.raises(BadInputError, match="bundle not found"):
        ReIQA("absent")


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (torch.rand(3, 8, 8), "shape"),
        (torch.rand(1, 1, 8, 8), "shape"),
        (torch.rand(0, 3, 8, 8), "shape"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 255.0), r"in \[0, 1\] .* 255"),
        (torch.full((1, 3, 8, 8), -0.5), r"in \[0, 1\]"),
        (torch.full((1, 3, 8, 8), torch.nan), r"in \[0, 1\]"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(metric, batch: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metric.update(batch)


def test_a_missing_package_is_named_in_one_line() -> None:
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "try: import reiqa.torchmetrics\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert "pip install 'reiqa[metrics]'" in line


# Two processes, of which the second has one image and the first all others.
JOB = """
import sys, torch
from torch import distributed
from reiqa.torchmetrics import ReIQA
distributed.init_process_group("gloo")
rank = distributed.get_rank()
images = torch.load(sys.argv[1])
own = images[4:] if rank else images[:4]
for reduction in ("mean", "sum", "none"):
    metric = ReIQA(reduction=reduction)
    for image in own:
        metric.update(image[None])
    torch.save(metric.compute(), f"{sys.argv[1]}.{reduction}.{rank}")
distributed.destroy_process_group()
"""


def test_processes_reduce_over_the_images_of_all(images, points, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    torch.save(images, tmp_path / "images")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", str(tmp_path / "job.py"), str(tmp_path / "images")]
    subprocess.run(command, check=True, capture_output=True)
    for reduction, expected in (("mean", points.mean()), ("sum", points.sum()), ("none", points)):
        for rank in range(2):
            found = torch.load(tmp_path / f"images.{reduction}.{rank}")
            np.testing.assert_allclose(found, expected, atol=5 * TOLERANCE)
