"""Memory and time limits of the jobs of each stage, for schedulers.

Memory is estimated from the catalog and from benchmarks. Time limits are fixed and generous.
Interrupted pretraining resumes from its checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reiqa.expert_names import EXPERTS, ExpertName

if TYPE_CHECKING:
    from reiqa.catalog import DatasetEntry
    from reiqa.params import Params

#: Resident memory of Python with torch, other libraries and some photographs, in MB.
BASE_MB = 1500

#: docs/log/benchmarks/pretrain.md: memory of a pair of 160 x 160 crops, ResNet-50 in float32.
PAIR_MB = 42.0
#: docs/log/benchmarks/index.md: 0.7 GiB for 160,000 files, half of it libraries.
_FILE_MB = 0.0025
#: Pixels of a rated photograph at scale 1; KonIQ-10k's 1024 x 768. Bytes an encoder keeps of each.
_RATED_PIXELS, _LARGE_PIXELS, _PIXEL_BYTES = 786_432, 4_000_000, 200
#: Features of an image at one scale by ResNet-50, the widest of the presets' encoders.
_WIDTH = {"last": 2048, "stages": 7680}

_HOUR = 60


@dataclass(frozen=True)
class Needs:
    """Resources of one job.

    Attributes:
        mem_mb: memory per node in MB.
        minutes: time limit in minutes.
    """

    mem_mb: int
    minutes: int


def fetch(_params: Params, _dataset: str) -> Needs:
    """Return what downloading a dataset needs."""
    return _needs(BASE_MB, 24 * _HOUR)


def index(_params: Params, dataset: str) -> Needs:
    """Return what indexing a dataset needs."""
    entry = _entry(dataset)
    # Archives of rated datasets also contain references and patches.
    files = entry.count_images() * (4 if entry.kind == "rated" else 1)
    return _needs(BASE_MB + files * _FILE_MB, 8 * _HOUR)


def chunks(_params: Params, _corpus: str, _number: str) -> Needs:
    """Return what one shard needs."""
    return _needs(BASE_MB, 4 * _HOUR)


def pairs_per_step(name: ExpertName, params: Params) -> int:
    """Return the number of pairs of crops per pretraining step, over all processes."""
    training = params.expert(name).training
    versions = len(params.chunks.scales) * (params.chunks.n_aug + 1) if name == "quality" else 1
    return training.batch_size * versions if training else 0


def model(params: Params, name: ExpertName, gpus: int = 0) -> Needs:
    """Return what making an expert needs per node, with one process per GPU."""
    expert = params.expert(name)
    if expert.source != "pretrain":
        return _needs(2 * BASE_MB, _HOUR)
    if gpus:
        # Each process has as many loader processes as threads.
        return _needs(gpus * (2 * BASE_MB + 1000 * params.compute.threads), 24 * _HOUR)
    side = params.chunks.patch if name == "quality" else expert.view
    return _needs(
        2 * BASE_MB + pairs_per_step(name, params) * PAIR_MB * (side / 160) ** 2, 24 * _HOUR
    )


def probe(_params: Params) -> Needs:
    """Return what probing both experts needs."""
    return _needs(2 * BASE_MB, 4 * _HOUR)


def features(params: Params, _dataset: str, _name: ExpertName) -> Needs:
    """Return what encoding a dataset by one expert needs."""
    kept = min(params.features.max_pixels, _LARGE_PIXELS) * _PIXEL_BYTES / 1e6
    read = 2 * params.features.batch * _RATED_PIXELS * 3 / 1e6
    return _needs(BASE_MB + kept + read + params.compute.threads * 200, 24 * _HOUR)


def fit(params: Params, dataset: str) -> Needs:
    """Return what fitting a dataset's regressor needs."""
    return _regression(_entry(dataset).count_images(), params, params.regression.splits)


def cross(params: Params) -> Needs:
    """Return what testing each dataset's regressor on all others needs."""
    largest = max(_entry(name).count_images() for name in params.datasets)
    return _regression(largest, params, len(params.datasets))


def report(_params: Params) -> Needs:
    """Return what the tables and the page need."""
    return _needs(2 * BASE_MB, _HOUR)


def _regression(images: int, params: Params, fits: int) -> Needs:
    width = len(params.features.scales) * len(EXPERTS) * _WIDTH[params.features.pooling]
    copies = sum(_entry(name).count_images() for name in params.degraded_datasets())
    if copies:
        # With ranked pairs, the dual system is solved. It is largest for the final regressor, with
        # two more copies in memory while rows are mixed.
        rows = side = float(images + copies)
        systems = 3
    elif params.regression.model == "svr":
        # The kernel matrix of all images, for the final regressor, and a copy.
        rows = side = float(images)
        systems = 2
    else:
        rows = images * params.regression.fractions[0]
        side, systems = min(rows, width), 1
    feature_mb = (images + copies) * width * 12 / 1e6
    solver_mb = min(params.compute.threads, fits) * (rows * width + systems * side**2) * 8 / 1e6
    return _needs(BASE_MB + feature_mb + solver_mb, 24 * _HOUR)


def _entry(dataset: str) -> DatasetEntry:
    from reiqa import catalog

    return catalog.get_entry(dataset)


def _needs(mem_mb: float, minutes: int) -> Needs:
    return Needs(math.ceil(mem_mb / 100) * 100, minutes)
