"""Run Python code in a process that behaves as if packages were not installed."""

import json
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

#: Hides packages, by import name and by distribution, from the finder of installed modules. So
#: `import`, `find_spec` and `importlib.metadata` see none.
_HIDE = """
import json, sys
from importlib.machinery import PathFinder

HIDDEN = set(json.loads(sys.argv.pop(1)))

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in HIDDEN
        return None if hidden else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *context, **more):
        found = super().find_distributions(*context, **more)
        return (each for each in found if each.metadata["Name"] not in HIDDEN)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run_without(
    packages: Collection[str], code: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run code in a folder without packages, given by their import names."""
    owners = metadata.packages_distributions()
    hidden = {*packages, *(owner for name in packages for owner in owners[name])}
    return subprocess.run(
        [sys.executable, "-c", _HIDE + code, json.dumps(sorted(hidden))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
