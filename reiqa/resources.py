"""What a job of each stage needs of a machine: memory, minutes, GPUs; from the parameters alone.

A scheduler is told this before anything has run, so the arithmetic stands on counts of the catalog
and on the few rates below, each with its source. Minutes are limits, not forecasts: thrice what is
reckoned, and no more than a day at a time, for pretraining that is cut off goes on where it was.
"""

import math
from dataclasses import dataclass

from reiqa.data import catalog
from reiqa.params import EXPERTS, ExpertParams, ExpertName, Params, Pooling

#: Python with torch and the project's libraries, and a photograph or two, resident, in MB.
BASE_MB = 1500

#: Multiply-adds of a 224 x 224 image (torchvision's counts), in billions; others: ResNet-50's.
_GMACS = {
    "resnet18": 1.8,
    "resnet50": 4.1,
    "mobilenet_v3_small": 0.06,
    "shufflenet_v2_x0_5": 0.04,
    "efficientnet_lite0": 0.39,
}
#: Features of an image at one scale, by last stage and by all (``features.pooling``); likewise.
_WIDTHS: dict[str, dict[Pooling, int]] = {
    "resnet18": {"last": 512, "stages": 1920},
    "resnet50": {"last": 2048, "stages": 7680},
    "mobilenet_v3_small": {"last": 576, "stages": 2320},
    "shufflenet_v2_x0_5": {"last": 1024, "stages": 2768},
    "efficientnet_lite0": {"last": 1280, "stages": 2848},
}
_OTHERS = "resnet50"
_REFERENCE = 224 * 224

#: Passes of a step, in forward passes of one encoder: query forward and backward, key forward.
_PASSES = 4

#: Billions of multiply-adds a second. CPU thread: docs/benchmarks/pretrain.md (mobilenet_v3_small,
#: the slowest by this measure; ResNet-50 reaches six times that). GPU: assumed, never measured:
#: some 1,000 pairs/s of ResNet-50 at 160 pixels.
CPU_GMACS_PER_S, GPU_GMACS_PER_S = 5.0, 8400.0

#: docs/benchmarks/shards.md, the slowest row; docs/benchmarks/pretrain.md, float32, of ResNet-50.
WINDOWS_PER_S, PAIR_MB = 13.0, 42.0
#: Assumed of a download, and of reading photographs whole for their digests, in MB a second.
_DOWNLOAD_MB_PER_S, _READ_MB_PER_S = 5.0, 100.0
#: docs/benchmarks/index.md: 0.7 GiB for 160,000 files, half of it libraries.
_FILE_MB = 0.0025
#: docs/benchmarks/regression.md: 7,000 x 8,192 in 26.5 s a split.
_REGRESSION_GFLOPS = 30.0
#: Pixels of a rated photograph at scale 1; KonIQ-10k's 1024 x 768. Bytes an encoder keeps of each.
_RATED_PIXELS, _LARGE_PIXELS, _PIXEL_BYTES = 786_432, 4_000_000, 200

_LIMIT, _LEAST, _MOST = 3.0, 10, 24 * 60


@dataclass(frozen=True)
class Needs:
    """What one job asks a scheduler for.

    Attributes:
        mem_mb: memory, on each node.
        minutes: after which it may be ended.
    """

    mem_mb: int
    minutes: int


def fetch(name: str) -> Needs:
    """Return what bringing a set needs."""
    return _needs(BASE_MB, _megabytes(name) / _DOWNLOAD_MB_PER_S)


def index(name: str) -> Needs:
    """Return what indexing a set needs; a corpus is read whole."""
    entry = catalog.get_entry(name)
    # Archives of rated sets hold references and patches as well.
    files = entry.images * (4 if entry.kind == "rated" else 1)
    return _needs(BASE_MB + files * _FILE_MB, _megabytes(name) / _READ_MB_PER_S)


def chunks(corpus: str, params: Params) -> Needs:
    """Return what one shard of a corpus needs."""
    images = min(params.chunks.images_per_shard, catalog.get_entry(corpus).images)
    return _needs(BASE_MB, images * params.chunks.draws / WINDOWS_PER_S)


def pairs_per_step(name: ExpertName, params: Params) -> int:
    """Return how many pairs of crops a step of pretraining learns from, over all processes."""
    training = params.expert(name).training
    versions = len(params.chunks.scales) * (params.chunks.n_aug + 1) if name == "quality" else 1
    return training.images * versions if training else 0


def pretraining_gmacs(name: ExpertName, params: Params) -> float:
    """Return the work of a whole pretraining, in billions of multiply-adds."""
    expert = params.expert(name)
    if expert.training is None:
        return 0.0
    if name == "quality":
        side, corpora, draws = params.chunks.patch, params.chunks.corpora, params.chunks.draws
    else:
        side, corpora, draws = expert.view, expert.corpora, 1
    items = draws * sum(catalog.get_entry(corpus).images for corpus in corpora)
    pairs = items * pairs_per_step(name, params) / expert.training.images
    return pairs * expert.training.epochs * _gmacs(expert) * side**2 / _REFERENCE * _PASSES


def model(name: ExpertName, params: Params, gpus: int = 1, nodes: int = 1) -> Needs:
    """Return what making an expert needs.

    Args:
        name: which of the two.
        params: all parameters.
        gpus: on each node, and as many processes; 0 for one process on the CPU.
        nodes: over which it runs.
    """
    expert = params.expert(name)
    if expert.source != "pretrain":
        return _needs(2 * BASE_MB, 1)
    seconds = pretraining_gmacs(name, params) / _speed(params, gpus * nodes)
    if gpus:
        # Each process has as many that read for it.
        return _needs(gpus * (2 * BASE_MB + 1000 * params.compute.threads), seconds)
    side = params.chunks.patch if name == "quality" else expert.view
    kept = PAIR_MB * _gmacs(expert) / _GMACS[_OTHERS] * (side / 160) ** 2
    # Light architectures keep more for each multiply-add than ResNet-50 does.
    kept = max(kept, PAIR_MB * (side / 160) ** 2 / 4)
    return _needs(2 * BASE_MB + pairs_per_step(name, params) * kept, seconds)


def probe(params: Params) -> Needs:
    """Return what probing both experts needs: a few thousand crops, on the CPU."""
    work = 20_000 * sum(_gmacs(params.expert(name)) for name in EXPERTS)
    return _needs(2 * BASE_MB, work / _speed(params, 0))


def features(dataset: str, name: ExpertName, params: Params, gpus: int = 1) -> Needs:
    """Return what encoding a dataset by one expert needs."""
    images = catalog.get_entry(dataset).images
    area = sum(scale**2 for scale in params.features.scales) * _RATED_PIXELS / _REFERENCE
    work = images * area * _gmacs(params.expert(name))
    decoding = images / (5 * params.compute.threads)
    kept = min(params.features.max_pixels, _LARGE_PIXELS) * _PIXEL_BYTES / 1e6
    read = 2 * params.features.batch * _RATED_PIXELS * 3 / 1e6
    seconds = work / _speed(params, min(gpus, 1)) + decoding
    return _needs(BASE_MB + kept + read + params.compute.threads * 200, seconds)


def fit(dataset: str, params: Params) -> Needs:
    """Return what fitting a dataset's regressor needs."""
    images = catalog.get_entry(dataset).images
    return _regression(images, params, params.regression.splits)


def cross(params: Params) -> Needs:
    """Return what judging each dataset's regressor on all others needs."""
    largest = max(catalog.get_entry(name).images for name in params.datasets)
    return _regression(largest, params, len(params.datasets))


def report() -> Needs:
    """Return what the tables and the page need."""
    return _needs(2 * BASE_MB, 60)


def _regression(images: int, params: Params, fits: int) -> Needs:
    width = len(params.features.scales) * sum(
        _width(params.expert(name), params.features.pooling) for name in EXPERTS
    )
    copies = sum(catalog.get_entry(name).images for name in params.copies())
    if copies:
        # Pairs of copies mix rows: the system is one of rows, whatever the width; it is largest for
        # the regressor that is kept, and twice more in memory while its rows are mixed.
        rows = side = float(images + copies)
        systems = 3
    else:
        rows = images * params.regression.fractions[0]
        side, systems = min(rows, width), 1
    flops = 2 * (rows * width * side + 4 / 3 * side**3)
    # Both experts' features together, then each expert's by itself.
    seconds = 2 * fits * flops / (_REGRESSION_GFLOPS * 1e9)
    held = (images + copies) * width * 12 / 1e6
    at_once = min(params.compute.threads, fits) * (rows * width + systems * side**2) * 8 / 1e6
    return _needs(BASE_MB + held + at_once, seconds)


def _megabytes(name: str) -> float:
    entry = catalog.get_entry(name)
    return 1000 * entry.gigabytes if entry.gigabytes is not None else float(entry.images)


def _speed(params: Params, gpus: int) -> float:
    return gpus * GPU_GMACS_PER_S if gpus else params.compute.threads * CPU_GMACS_PER_S


def _gmacs(expert: ExpertParams) -> float:
    return _GMACS.get(expert.backbone, _GMACS[_OTHERS])


def _width(expert: ExpertParams, pooling: Pooling) -> int:
    return _WIDTHS.get(expert.backbone, _WIDTHS[_OTHERS])[pooling]


def _needs(mem_mb: float, seconds: float) -> Needs:
    minutes = max(_LEAST, math.ceil(_LIMIT * seconds / 60))
    return Needs(math.ceil(mem_mb / 100) * 100, min(minutes, _MOST))
