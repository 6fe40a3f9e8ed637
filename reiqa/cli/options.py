"""Options that several verbs share, and the check of what they name."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa.errors import BadInputError

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of: reiqa datasets.")]
Force = Annotated[bool, typer.Option("--force", help="Make it again even if it is up to date.")]
Mirror = Annotated[
    Path | None,
    typer.Option("--mirror", envvar="REIQA_MIRROR", help="Folder to look in before any download."),
]


def require_rated_dataset(name: str) -> None:
    """Refuse a name that is not of a set to evaluate on.

    Raises:
        BadInputError: it is not.
    """
    from reiqa import catalog

    if name not in catalog.rated_names():
        raise BadInputError(
            f"--dataset {name}: not a rated set; allowed: {', '.join(catalog.rated_names())}"
        )
