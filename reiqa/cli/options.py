"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa.errors import BadInputError

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Dataset = Annotated[str, typer.Option("--dataset", help="Name of a dataset (see: reiqa datasets).")]
Force = Annotated[bool, typer.Option("--force", help="Make it again even if it is up to date.")]
Mirror = Annotated[
    Path | None,
    typer.Option("--mirror", envvar="REIQA_MIRROR", help="Folder to search before downloading."),
]


def require_rated_dataset(name: str) -> None:
    """Check that a name is that of a rated dataset.

    Raises:
        BadInputError: it is not.
    """
    from reiqa import catalog

    names = catalog.rated_names()
    if name not in names:
        raise BadInputError(
            f"--dataset {name}: not a rated dataset; {catalog.allowed_names(name, names)}"
        )
