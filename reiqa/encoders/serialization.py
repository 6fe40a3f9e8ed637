"""Encoder files: safetensors with metadata, and a JSON card next to them."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from reiqa import layout, store
from reiqa.encoders.backbones import NORMALIZATION, Encoder, build_encoder, find_normalization
from reiqa.errors import BadInputError
from reiqa.params import ExpertName

# A single metadata key, because safetensors does not fix the order of keys.
_KEY = "reiqa"


def save_encoder(encoder: Encoder, path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights (equal weights give identical bytes), then the card.

    Args:
        encoder: encoder to save, without projection head and optimiser.
        path: a ``.safetensors`` file.
        card: additional metadata, such as source, steps, loss and licence, as JSON data.
    """
    from safetensors.torch import save_file

    tensors = {
        name: value.detach().cpu().contiguous() for name, value in encoder.body.state_dict().items()
    }
    own = {"backbone": encoder.backbone, "expert": encoder.expert}
    rule = encoder.normalization
    if rule != NORMALIZATION[encoder.expert]:
        own["normalization"] = rule.name
    with store.atomic(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(own, sort_keys=True)})
    store.write_json(
        layout.companion(path, "json"),
        {
            **own,
            "width": encoder.width,
            "normalisation": asdict(rule),
            "weights": store.file_digest(path),
            **card,
        },
    )


def load_encoder(path: Path) -> Encoder:
    """Load an encoder in evaluation mode on the CPU.

    Raises:
        BadInputError: the file is missing, damaged, or not an encoder of this project.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            own = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInputError(f"{path}: model not found; run: reiqa pretrain") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInputError(f"{path}: not a valid safetensors file ({error})") from None
    if own.get("expert") not in get_args(ExpertName) or "backbone" not in own:
        raise BadInputError(
            f"{path}: not an encoder of reiqa. Other weights are read from files of torch.save, not"
            " from safetensors; save them with torch.save and import that file"
        )
    rule = find_normalization(
        own.get("normalization", NORMALIZATION[own["expert"]].name), str(path)
    )
    encoder = build_encoder(own["backbone"], own["expert"], normalization=rule)
    try:
        encoder.body.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInputError(f"{path}: does not match {own['backbone']}: {reason}") from None
    return encoder.eval()


def load_checkpoint(path: Path, allowed: Sequence[type] = ()) -> dict[str, Any]:
    """Load a ``torch.save`` file onto the CPU without executing code.

    Args:
        path: the file.
        allowed: allowed classes in addition to tensors, numbers, strings and containers.

    Raises:
        BadInputError: the file is missing, damaged, unsafe to load, or not a dictionary.
    """
    import torch

    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        _verify_checksums(path)
        with torch.serialization.safe_globals(list(allowed)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load raises many different exceptions for invalid files.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"{path}: damaged, or not safe to load ({reason})") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: contains a {type(content).__name__} instead of named tensors")
    return content


def _verify_checksums(path: Path) -> None:
    """Verify the zip checksums of a checkpoint, which torch writes but does not verify."""
    if not zipfile.is_zipfile(path):
        return  # Files from before torch 1.6 have no checksums.
    with zipfile.ZipFile(path) as parts:
        if (corrupted := parts.testzip()) is not None:
            raise ValueError(f"{corrupted}: checksum mismatch")
