"""Which cells a matrix has: params.yaml with its own base, and each key varied by itself."""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from reiqa import params as parameters
from reiqa.errors import BadInputError
from reiqa.validation import describe_validation_error, read_yaml
from reiqa.params import Params, ParamsSection

#: Factor of the cell that all others differ from in one key.
BASE = "base"

_HERE = Path(__file__).parent


class _File(ParamsSection):
    """A matrix as it is written.

    Attributes:
        images: rated images to judge on, spread evenly over the index; all of them if null.
        base: keys of params.yaml, dotted, that hold for every cell.
        vary: values of each key; a cell for each that is not the base's own.
    """

    images: Annotated[int, Field(ge=12)] | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    vary: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]


@dataclass(frozen=True)
class Cell:
    """One configuration.

    Attributes:
        factor: the key that differs from the base, or `BASE`.
        value: what it is here, as JSON; empty for the base.
        params: all parameters.
        images: rated images to judge on; None for all.
    """

    factor: str
    value: str
    params: Params
    images: int | None

    @property
    def folder(self) -> Path:
        """Where the cell's project lies: named by all that decides its result."""
        key = parameters.tree_digest([self.params.model_dump(mode="json"), self.images])
        return Path("work/ablations") / key[:16]


@dataclass(frozen=True)
class Matrix:
    """A base and its variations.

    Attributes:
        name: of the matrix.
        cells: the base first.
    """

    name: str
    cells: Sequence[Cell]

    @classmethod
    def read(cls, source: str, params: Params) -> "Matrix":
        """Read a matrix around the parameters of a project.

        Args:
            source: the name of one that ships with the package, or a YAML file.
            params: what the matrix does not say.

        Raises:
            BadInputError: there is no such matrix, or a cell is not possible.
        """
        path = Path(source) if source.endswith((".yaml", ".yml")) else _HERE / f"{source}.yaml"
        file = _read(path)
        tree = params.model_dump(mode="json")
        base = _with(tree, file.base)
        cells = [Cell(BASE, "", _checked(path, base, BASE), file.images)]
        for key, values in file.vary.items():
            for value in values:
                changed = _checked(path, _with(base, {key: value}), f"{key}={value}")
                if changed != cells[0].params:
                    cells.append(Cell(key, json.dumps(value), changed, file.images))
        if cells[0].params.quality.source != "pretrain":
            raise BadInputError(
                f"{path}: quality.source is {cells[0].params.quality.source}, so nothing is trained"
                " that could be ablated; set it to pretrain"
            )
        return cls(path.stem, cells)

    def only(self, factors: Sequence[str]) -> "Matrix":
        """Return the base and the cells of some factors, each named by its key or its last part.

        Raises:
            BadInputError: no cell is of a factor.
        """
        known = {cell.factor for cell in self.cells if cell.factor != BASE}
        wanted = set()
        for name in factors:
            found = {factor for factor in known if name in (factor, factor.rpartition(".")[2])}
            if not found:
                raise BadInputError(f"--only {name}: allowed: {', '.join(sorted(known))}")
            wanted |= found
        return Matrix(self.name, [c for c in self.cells if c.factor in wanted | {BASE}])


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(path))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in _HERE.glob("*.yaml")))
        raise BadInputError(f"{path}: no such matrix; allowed: {known}, or a .yaml file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: not readable as YAML: {reason}") from None
    except ValidationError as error:
        raise BadInputError(describe_validation_error(path, error, _File)) from None


def _with(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a tree of parameters with some dotted keys set.

    Whether there are such keys is not told by the tree, which leaves out what is off: the check of
    the whole finds it.
    """
    tree = copy.deepcopy(tree)
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = tree
        for name in sections:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = value
    return tree


def _checked(path: Path, tree: dict[str, Any], label: str) -> Params:
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise BadInputError(f"{describe_validation_error(path, error, Params)} (in the cell {label})") from None
