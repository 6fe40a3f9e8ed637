"""What decides an artifact's content besides its inputs: parameters, and facts of the catalog.

Changing anything that is named here makes artifacts stale; changing anything else does not.
"""

from collections.abc import Callable
from typing import Any

from reiqa.data import catalog
from reiqa.params import Params, stage_parameters


def parameters_of(params: Params, stage: str, item: str = "") -> dict[str, Any]:
    """Return what decides the content of an artifact besides its inputs, as plain JSON data.

    Args:
        params: the whole of params.yaml.
        stage: as in `params.relevant`.
        item: what the stage is given: a dataset, an expert, or both with a slash.
    """
    tree = stage_parameters(params, stage, item)
    entry = catalog.load_catalog().get(item.partition("/")[0])
    facts = entry.facts(stage) if entry is not None else None
    return tree if facts is None else {**tree, "catalog": facts}


def under(params: Params) -> Callable[[str, str], dict[str, Any]]:
    """Return `parameters_of` for these parameters, as `reiqa.store` takes it."""
    return lambda stage, item: parameters_of(params, stage, item)
