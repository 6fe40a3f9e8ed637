"""Check the timm backbones of params.yaml when it is read.

Only timm knows whether it has a model, and a trial run whether the model takes images of any size
and has stages. Importing timm takes seconds, so a backbone that passed is remembered in the
project's ``work/`` for as long as the installed timm stays the same.
"""

from importlib.metadata import version

from reiqa import store
from reiqa.backbone_names import TIMM_PREFIX
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, Params

_PASSED = store.WORK / "timm-backbones.json"

# Increased when the check itself changes.
_RULES = 1


def check_timm_backbones(params: Params) -> None:
    """Check both backbones, if they are of timm.

    Raises:
        BadInputError: timm has no such model, it does not take images of any size, or it has no
            stages and ``features.pooling`` is ``stages``. The message begins with the key.
    """
    pooling = params.features.pooling
    for name in EXPERTS:
        backbone = params.expert(name).backbone
        if not backbone.startswith(TIMM_PREFIX):
            continue
        key = f"{backbone}, {pooling}, timm {version('timm')}, rules {_RULES}"
        passed = _read_passed()
        if key in passed:
            continue
        from reiqa import encoders

        try:
            encoders.check_backbone(backbone, pooling)
        except BadInputError as error:
            prefix = f"{name}." if str(error).startswith("backbone:") else ""
            raise BadInputError(f"{prefix}{error}") from None
        _remember([*passed, key])


def _read_passed() -> list[str]:
    try:
        found = store.read_json(_PASSED)
    except BadInputError:
        # Missing or damaged: what it said is found again.
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def _remember(passed: list[str]) -> None:
    try:
        store.write_json(_PASSED, sorted(passed))
    except (BadInputError, OSError):
        # In a folder that cannot be written to, each verb checks anew.
        return
