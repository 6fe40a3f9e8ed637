"""Verbs generated from the stage table; their options are the item, ``--params``, ``--force``."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from reiqa import layout
from reiqa.cli.options import Force, ParamsFile


def verb(name: str) -> Callable[..., None]:
    """Return the Typer command function of a stage."""
    from reiqa.stages import STAGES

    stage = STAGES[name]

    def run(params: Any, force: bool, **values: str) -> None:
        from reiqa import pipeline

        item = "/".join(values[wildcard] for wildcard in stage.wildcards)
        pipeline.make(name, pipeline.load_params(params), item, force)

    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        *(
            inspect.Parameter(
                wildcard,
                keyword,
                annotation=Annotated[str, typer.Option(f"--{wildcard}", help=f"The {wildcard}.")],
            )
            for wildcard in stage.wildcards
        ),
        inspect.Parameter("params", keyword, default=layout.PARAMS, annotation=ParamsFile),
        inspect.Parameter("force", keyword, default=False, annotation=Force),
    ]
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    run.__name__ = name
    summary = stage.summary[0].upper() + stage.summary[1:]
    run.__doc__ = f"{summary}.\n\nExample: `{stage.command}`"
    return run
