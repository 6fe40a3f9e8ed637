"""What verbs are given: options that several share, and the checks of what they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from reiqa import params as parameters
from reiqa.errors import BadInputError
from reiqa.params import Params

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of: reiqa datasets.")]
Force = Annotated[bool, typer.Option("--force", help="Make it anew even if it is up to date.")]
Mirror = Annotated[
    Path | None,
    typer.Option("--mirror", envvar="REIQA_MIRROR", help="Folder to look in before any download."),
]


def load_checked_params(file: Path) -> Params:
    """Read params.yaml and hold its names to the catalog and the bank.

    Raises:
        BadInputError: the file is missing, or holds what is not allowed.
    """
    from reiqa import distortions
    from reiqa.data import catalog

    return parameters.load_params(file, catalog.rated_names(), catalog.corpus_names(), distortions.names)


def require_dataset(name: str) -> None:
    """Refuse a name that is not in the catalog.

    Raises:
        BadInputError: it is not.
    """
    from reiqa.data import catalog

    catalog.get_entry(name)


def require_rated_dataset(name: str) -> None:
    """Refuse a name that is not of a set to evaluate on.

    Raises:
        BadInputError: it is not.
    """
    from reiqa.data import catalog

    if name not in catalog.rated_names():
        raise BadInputError(
            f"--dataset {name}: not a rated set; allowed: {', '.join(catalog.rated_names())}"
        )


def bound(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    """Return a call that `store.make` may or may not make."""
    return lambda: function(*arguments)
