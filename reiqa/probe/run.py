"""Run the probe stage on both experts and on the same networks with random weights."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reiqa import devices, encoders, images, layout, progress, store, tensors
from reiqa.data.index import read_corpus
from reiqa.distortions import resolve
from reiqa.encoders import Encoder
from reiqa.features.encoding import FrozenEncoder
from reiqa.images import Pixels
from reiqa.params import EXPERTS, BankParams, Params, Pooling
from reiqa.probe import linear, retrieval
from reiqa.probe.photographs import load_photographs

#: Side of windows and crops in pixels.
SIDE = 96

# Windows per photograph. Seven photographs and 25 types give 1,764 images.
_WINDOWS_PER_PHOTOGRAPH = 2

# Maximum number of corpus photographs for retrieval.
_MAX_CORPUS_PHOTOGRAPHS = 200

# Images converted to float at a time.
_BATCH = 100


def run_probe(params: Params) -> Path:
    """Probe both experts for distortions and content.

    The linear probes (see `linear`) use the fixed photographs of `photographs`. Retrieval (see
    `retrieval`) also uses the corpora that the content expert was not trained on.

    Returns:
        ``layout.PROBE``: ``encoders`` contains four metrics of each expert and of the same network
        with random weights; ``photographs`` contains the number of photographs.

    Raises:
        BadInputError: an expert or a corpus is missing or damaged.
    """
    experts = [encoders.load_encoder(layout.model(name)) for name in EXPERTS]
    with devices.device(params.compute.model_copy(update={"device": "cpu"})):
        windows = probe_windows(params.bank)
        pairs = retrieval.cut_crop_pairs(retrieval_photographs(params), SIDE)
        measures: dict[str, dict[str, float]] = {}
        for expert in progress.track(experts, "probe", unit="experts"):
            measures |= compare_with_random(expert, windows, pairs)
    counts = {
        "distortions": len({*windows.photograph.tolist()}),
        "retrieval": len(pairs),
    }
    store.write_json(layout.PROBE, {"encoders": measures, "photographs": counts})
    return layout.PROBE


def probe_windows(bank: BankParams) -> linear.ProbeWindows:
    """Return the windows for the linear probes."""
    return linear.cut_windows(
        load_photographs(), resolve(bank), SIDE, _WINDOWS_PER_PHOTOGRAPH, seed=0
    )


def retrieval_photographs(params: Params) -> Iterator[Tensor]:
    """Yield the photographs for retrieval, each ``(3, H, W)`` uint8.

    Raises:
        BadInputError: a corpus or one of its images is missing or damaged.
    """
    yield from map(_planes, chain(load_photographs().values(), _corpus_photographs(params)))


def compare_with_random(
    trained: Encoder, windows: linear.ProbeWindows, pairs: Tensor | None = None
) -> dict[str, dict[str, float]]:
    """Probe an encoder and the same network with random weights.

    Args:
        trained: encoder.
        windows: from `probe_windows`.
        pairs: from `retrieval.cut_crop_pairs`; None skips retrieval.

    Returns:
        The metrics of `linear.probe_features`, and ``retrieval``, by expert name and by that name
        with the suffix ``_random``. They are rounded, to be independent of the linear algebra
        library.
    """
    measured = {}
    for name, encoder in (
        (trained.expert, trained),
        (f"{trained.expert}_random", random_encoder(trained)),
    ):
        features = encode(encoder, windows.pixels).double().numpy()
        values = linear.probe_features(features, windows.photograph)
        if pairs is not None:
            values["retrieval"] = retrieval.retrieval_accuracy(encode(encoder, pairs))
        measured[name] = {measure: round(value, 4) for measure, value in values.items()}
    return measured


def random_encoder(trained: Encoder) -> Encoder:
    """Return the same network and normalisation with random weights, in evaluation mode."""
    return encoders.build_encoder(
        trained.backbone, trained.expert, normalization=trained.normalization
    ).eval()


def encode(encoder: Encoder, pixels: Tensor, pooling: Pooling = "last") -> Tensor:
    """Encode ``(W, V, 3, S, S)`` uint8 to ``(W, V, width)``, as the stage `features` does."""
    frozen = FrozenEncoder(encoder, [1.0], pixels.device, pooling=pooling)
    parts = [frozen.encode([tensors.to_float(part)]) for part in pixels.flatten(0, 1).split(_BATCH)]
    return torch.from_numpy(np.concatenate(parts)).reshape(*pixels.shape[:2], -1)


def _corpus_photographs(params: Params) -> Iterator[Pixels]:
    """Yield photographs that the content expert was not trained on, in order of digest."""
    rows = sorted(
        (row.digest, layout.image_folder(corpus) / row.image)
        for corpus in params.probe_corpora()
        for row in read_corpus(layout.index(corpus))
    )
    for _, path in rows[:_MAX_CORPUS_PHOTOGRAPHS]:
        yield images.read_rgb(path)


def _planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
