"""An encoder on disk: safetensors that describe themselves, and a card for people beside them."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from reiqa import layout, store
from reiqa.encoders.backbones import NORMALIZATION, Encoder, build_encoder
from reiqa.errors import BadInputError
from reiqa.params import ExpertName

# One key only: the order of several is not fixed by the format's writer, and bytes must repeat.
_KEY = "reiqa"


def save_encoder(encoder: Encoder, path: Path, card: Mapping[str, Any]) -> None:
    """Write the weights (same weights, same bytes), then the card.

    Args:
        encoder: what to keep; its projection head and optimiser are no part of it.
        path: a ``.safetensors`` file.
        card: what else there is to know: source, steps, loss, licence; plain JSON data.
    """
    from safetensors.torch import save_file

    tensors = {
        name: value.detach().cpu().contiguous() for name, value in encoder.body.state_dict().items()
    }
    own = {"backbone": encoder.backbone, "expert": encoder.expert}
    with store.atomic(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(own, sort_keys=True)})
    store.write_json(
        layout.companion(path, "json"),
        {
            **own,
            "width": encoder.width,
            "normalisation": asdict(NORMALIZATION[encoder.expert]),
            "weights": store.file_digest(path),
            **card,
        },
    )


def load_encoder(path: Path) -> Encoder:
    """Read an encoder, ready to encode (evaluation mode, on the CPU).

    Raises:
        BadInputError: the file is missing, damaged, or not an encoder of this project.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            own = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such model; make it with: reiqa pretrain") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInputError(f"{path}: not a whole safetensors file ({error})") from None
    if own.get("expert") not in get_args(ExpertName) or "backbone" not in own:
        raise BadInputError(
            f"{path}: not an encoder of this project; read it with: reiqa weights import"
        )
    encoder = build_encoder(own["backbone"], own["expert"])
    try:
        encoder.body.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInputError(f"{path}: does not fit a {own['backbone']}: {reason}") from None
    return encoder.eval()


def load_checkpoint(path: Path, allowed: Sequence[type] = ()) -> dict[str, Any]:
    """Read what ``torch.save`` wrote, on the CPU, without running any code that it may hold.

    Args:
        path: the file.
        allowed: classes that may be in it beside tensors, numbers, text and containers.

    Raises:
        BadInputError: it is missing, damaged, not safe to read, or no dictionary.
    """
    import torch

    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    try:
        _check_sums(path)
        with torch.serialization.safe_globals(list(allowed)):
            read = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever is wrong with a file, torch.load has no one error for it.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(
            f"{path}: damaged, or not a checkpoint that is safe to read ({reason})"
        ) from None
    if not isinstance(read, dict):
        raise BadInputError(f"{path}: holds a {type(read).__name__}, not named tensors")
    return read


def _check_sums(path: Path) -> None:
    """Hold each part of a checkpoint to its checksum, which torch writes but does not look at."""
    if not zipfile.is_zipfile(path):
        return  # of before torch 1.6: without checksums
    with zipfile.ZipFile(path) as parts:
        if (spoilt := parts.testzip()) is not None:
            raise ValueError(f"{spoilt} is not what was written")
