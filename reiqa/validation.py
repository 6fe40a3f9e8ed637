"""Strict YAML parsing, YAML in one line, and validation errors as one line."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class _UniqueKeys(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that rejects duplicate keys, which PyYAML accepts against the specification."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Called before each mapping is built, and again when it is merged into another with `<<`.
        # After a merge it contains overridden keys, so each mapping is only checked once.
        if node not in self._checked:
            self._checked.add(node)
            seen = set()
            for key, _ in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name is not None and name != "<<" and name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"duplicate key {name!r}", key.start_mark
                    )
                seen.add(name)
        super().flatten_mapping(node)


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8.
        yaml.YAMLError: it is not YAML, or has a duplicate key.
    """
    return parse_yaml(path.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Any:
    """Parse YAML.

    Raises:
        yaml.YAMLError: it is not YAML, or has a duplicate key.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except ValueError as error:  # of a date such as 2020-13-45
        raise yaml.YAMLError(str(error)) from None


def flow_yaml(value: object) -> str:
    """Return plain data as YAML in one line."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    return text.removesuffix("...\n").strip()


def describe_validation_error(
    path: Path,
    error: ValidationError,
    model: type[BaseModel],
    renamed: Mapping[str, str] | None = None,
) -> str:
    """Return one line with file, key, problem and allowed values.

    Args:
        path: the file.
        error: error of pydantic.
        model: model of the file, which defines the allowed keys.
        renamed: new names of renamed keys, by the end of the dotted old key.
    """
    # Report unknown keys first: a renamed key also causes errors about missing keys.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    # A union reports the name of each branch after the key.
    keys = _keys(first)
    same = [fault for fault in faults if _keys(fault)[: len(keys)] == keys]
    others = len({tuple(_keys(fault)) for fault in faults if fault not in same})
    name = ".".join(keys) or "the whole file"
    more = f" (and {others} more)" if others else ""
    if first["type"] == "extra_forbidden":
        for old, new in (renamed or {}).items():
            if f".{name}".endswith(f".{old}"):
                return f"{path}: {name}: this key is now called {new}{more}"
        allowed = ", ".join(_fields_at(model, keys[:-1]))
        return f"{path}: {name}: unknown key; allowed here: {allowed}{more}"
    if first["type"] == "missing":
        return f"{path}: {name}: this key is required{more}"
    messages = " or ".join(dict.fromkeys(_message(fault) for fault in same))
    given = "" if first["type"] == "value_error" else f", not {first['input']!r}"
    return f"{path}: {name + ': ' if keys or given else ''}{messages}{given}{more}"


def _message(fault: ErrorDetails) -> str:
    if fault["type"] in {"model_type", "model_attributes_type"}:
        return "must be a mapping"
    text = fault["msg"].removeprefix("Value error, ").split(", unable to")[0]
    return text[0].lower() + text[1:]


def _keys(fault: ErrorDetails) -> list[str]:
    return [str(part) for part in fault["loc"] if not _is_branch(part)]


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and (
        part.startswith(("literal[", "list[", "constrained-", "function-"))
        or part in {"float", "int"}
    )


def _fields_at(model: type[BaseModel], keys: list[str]) -> list[str]:
    for key in keys:
        if key.isdecimal():  # a place in a list
            continue
        annotation = model.model_fields[key].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
