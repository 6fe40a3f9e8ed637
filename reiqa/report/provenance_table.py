"""The artifacts behind a report, read from their provenance sidecars."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reiqa.stages import STAGES
from reiqa.store import Provenance

#: Maximum number of listed artifacts per stage; the others are only counted.
_MAX_LISTED = 6


@dataclass(frozen=True)
class Artifact:
    """A row of the provenance table."""

    stage: str
    path: str
    command: str
    revision: str
    digest: str


def artifact_rows(made: Mapping[Path, Provenance]) -> list[Artifact]:
    """Return the rows of the provenance table."""
    lines = []
    for stage in STAGES:
        members = sorted(path for path, one in made.items() if one.stage == stage)
        for path in members[:_MAX_LISTED]:
            one = made[path]
            lines.append(Artifact(stage, str(path), one.command, one.revision, one.digest))
        if len(members) > _MAX_LISTED:
            lines.append(Artifact(stage, f"and {len(members) - _MAX_LISTED:,} more", "", "", ""))
    return lines


def parameters_yaml(made: Mapping[Path, Provenance]) -> str:
    """Return the parameters of the artifacts as YAML."""
    tree: dict[str, Any] = {}
    for provenance in made.values():
        tree.update(provenance.parameters)
    return yaml.safe_dump(tree, sort_keys=True, allow_unicode=True, default_flow_style=None).strip()
