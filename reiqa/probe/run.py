"""The stage that probes both finished experts, each beside random weights of the same kind."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from reiqa import devices, encoders, images, layout, progress, store
from reiqa.data.demo import PHOTOGRAPHS
from reiqa.data.index import read_corpus
from reiqa.distortions import resolve
from reiqa.encoders import Encoder
from reiqa.images import Pixels
from reiqa.params import EXPERTS, BankParams, Params
from reiqa.probe import linear, retrieval

# Windows of a photograph, and their side: seven photographs make 1,764 windows with the bank of 25.
_EACH, _SIDE = 2, 96

# Photographs of corpora that crops are sought among, at most.
_SOUGHT = 200

# Windows and crops encoded at once.
_BATCH = 100


def run_probe(params: Params) -> Path:
    """Measure what each expert has learnt of distortions and of content.

    Distortions (see `probe`) are tried on the embedded photographs. Crops (see `retrieval`) are
    sought among these and those of the corpora that the content expert has not learnt from.

    Returns:
        ``layout.PROBE``: under ``encoders`` four measures of each expert and of the same network
        with random weights; under ``photographs`` how many were used.

    Raises:
        BadInputError: an expert or a corpus is missing or damaged.
    """
    experts = [encoders.load_encoder(layout.model(name)) for name in EXPERTS]
    with devices.device(params.compute.model_copy(update={"device": "cpu"})):
        seen = probe_windows(params.bank)
        pairs = retrieval.cut_crop_pairs(
            map(_planes, chain(_embedded().values(), _probe_photographs(params))), _SIDE
        )
        measures: dict[str, dict[str, float]] = {}
        for expert in progress.track(experts, "probe", unit="experts"):
            measures |= compare_with_random(expert, seen, pairs)
    counts = {"distortions": len(_embedded()), "retrieval": len(pairs)}
    store.write_json(layout.PROBE, {"encoders": measures, "photographs": counts})
    return layout.PROBE


def probe_windows(bank: BankParams) -> linear.ProbeWindows:
    """Return the windows that every encoder is probed with."""
    return linear.cut_windows(_embedded(), resolve(bank), _SIDE, _EACH, seed=0)


def compare_with_random(
    trained: Encoder, seen: linear.ProbeWindows, pairs: Tensor | None = None
) -> dict[str, dict[str, float]]:
    """Measure an encoder and one of the same kind with random weights.

    Args:
        trained: in evaluation mode.
        seen: from `distorted`.
        pairs: from `retrieval.crops`; not sought if None.

    Returns:
        The measures of `probe.probe`, and ``retrieval``, by the expert's name and by the same with
        ``_random``; rounded, so that they do not hang on a linear algebra library's last bits.
    """
    random = encoders.build_encoder(trained.backbone, trained.expert).eval()
    measured = {}
    for name, encoder in ((trained.expert, trained), (f"{trained.expert}_random", random)):
        features = _encoded(encoder, seen.pixels).double().numpy()
        values = linear.probe_features(features, seen.photograph)
        if pairs is not None:
            values["retrieval"] = retrieval.retrieval_accuracy(_encoded(encoder, pairs))
        measured[name] = {measure: round(value, 4) for measure, value in values.items()}
    return measured


@torch.no_grad()
def _encoded(encoder: Encoder, pixels: Tensor) -> Tensor:
    """Encode ``(W, V, 3, S, S)`` uint8 to ``(W, V, width)``."""
    parts = [encoder(part.float().div(255)) for part in pixels.flatten(0, 1).split(_BATCH)]
    features: Tensor = torch.cat(parts).unflatten(0, pixels.shape[:2])
    return features


def _embedded() -> dict[str, Pixels]:
    """Load the photographs of the rated demo sets: packages ship them, and no corpus holds them."""
    return {
        name: load()
        for title in ("demo", "demo_mixed")
        for name, load in PHOTOGRAPHS[title].items()
    }


def _probe_photographs(params: Params) -> Iterator[Pixels]:
    """Yield photographs that the content expert has not learnt from, the first by digest."""
    rows = sorted(
        (row.digest, layout.raw(corpus) / row.image)
        for corpus in params.probe_corpora()
        for row in read_corpus(layout.index(corpus))
    )
    for _, path in rows[:_SOUGHT]:
        yield images.read_rgb(path)


def _planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
