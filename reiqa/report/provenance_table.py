"""What was run: the artifacts behind a report, read from the provenance beside each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reiqa.stages import STAGES
from reiqa.store import Provenance

#: Artifacts of one stage that are listed before the rest is only counted.
_LISTED = 6


@dataclass(frozen=True)
class Artifact:
    """A line of the table of what was run."""

    stage: str
    path: str
    command: str
    revision: str
    digest: str


def artifact_rows(made: Mapping[Path, Provenance]) -> list[Artifact]:
    """Return the lines of what was run; of a stage's many artifacts the last are only counted."""
    lines = []
    for stage in STAGES:
        members = sorted(path for path, one in made.items() if one.stage == stage)
        for path in members[:_LISTED]:
            one = made[path]
            lines.append(Artifact(stage, str(path), one.command, one.revision, one.digest))
        if len(members) > _LISTED:
            lines.append(Artifact(stage, f"and {len(members) - _LISTED:,} more", "", "", ""))
    return lines


def parameters_yaml(made: Mapping[Path, Provenance]) -> str:
    """Return, as YAML, the parameters that the artifacts were made with."""
    tree: dict[str, Any] = {}
    for provenance in made.values():
        tree.update(provenance.parameters)
    return yaml.safe_dump(tree, sort_keys=True, allow_unicode=True, default_flow_style=None).strip()
