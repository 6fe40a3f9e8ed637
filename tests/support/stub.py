"""A `reiqa` that does no work: each verb writes a few bytes and true provenance at once.

What it writes is a digest of the stage's parameters, format and inputs, so it changes when and only
when the real artifact may. Engines run it as they run the real one: `install` gives an environment
in which it is the `reiqa` beside the interpreter.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import finished

from reiqa import layout, params, store
from reiqa.params import Params
from reiqa.stages import STAGES, lookup, stage_parameters

#: Seconds that each verb takes.
SLEEP = "REIQA_STUB_SLEEP"


@dataclass(frozen=True)
class Job:
    """One artifact: how it is called for, what it is made of, what lies next to it."""

    argv: tuple[str, ...]
    path: Path
    stage: str
    item: str
    inputs: tuple[Path, ...]
    beside: tuple[Path, ...]


def jobs(tree: Params) -> Iterator[Job]:
    """Every job of a project, inputs first."""
    for path, stage, item, inputs, beside in finished.artifacts(tree):
        yield Job(_argv(tree, stage, item), path, stage, item, tuple(inputs), tuple(beside))


def _argv(tree: Params, stage: str, item: str) -> tuple[str, ...]:
    if stage == "model":
        verb = ("pretrain",) if tree.expert(item).source == "pretrain" else ("weights", "import")
        return (*verb, "--expert", item)
    return tuple(STAGES[stage].command_for(item).split()[1:])


def run(job: Job, tree: Params) -> bool:
    """Make one artifact unless it is up to date; say whether it was made."""

    def work() -> None:
        facts = [
            job.stage, job.item, STAGES[job.stage].format,
            stage_parameters(tree, job.stage, job.item),
            [store.file_digest(path) for path in job.inputs if path.is_file()],
        ]  # fmt: skip
        for path in (job.path, *job.beside):
            if path.suffix or path == job.path:
                store.write_text(path, f"{params.tree_digest([*facts, path.name])}\n")
            else:
                # DVC does not keep empty folders.
                store.write_text(path / "files", f"{params.tree_digest([*facts, path.name])}\n")

    return store.make_artifact(
        job.path, job.stage, job.item, lookup(tree), job.inputs, work, companions=job.beside
    )


def contents(folder: Path) -> dict[str, str]:
    """Every artifact of a project and its bytes; of sidecars what does not tell when it ran."""
    found = {}
    for top in ("data", "models", "features", "results"):
        for path in sorted((folder / top).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not path.name.endswith((".prov.json", ".gitignore")):
                found[name] = path.read_text()
            elif path.is_file():
                told = json.loads(path.read_text()) if path.suffix == ".json" else {}
                found[name] = json.dumps([told.get("parameters"), told.get("inputs")])
    return found


def install(folder: Path) -> dict[str, str]:
    """Lay out an interpreter with the stub next to it; return variables to run engines under."""
    scripts = folder / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").symlink_to(Path(sys.executable).resolve())
    here = Path(__file__).parents[1]
    stub = scripts / "reiqa"
    stub.write_text(f'#!/bin/sh\nexec "{scripts}/python" -m support.stub "$@"\n')
    for engine in ("snakemake", "dvc"):
        (scripts / engine).write_text(
            f'#!/bin/sh\nexec "{scripts}/python" -c "import sys; sys.argv[0] = {engine!r};'
            f" from {'snakemake.cli' if engine == 'snakemake' else 'dvc.cli'} import main;"
            f' sys.exit(main())" "$@"\n'
        )
    for script in scripts.iterdir():
        script.chmod(0o755)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    return {
        "PATH": os.pathsep.join([str(scripts), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent), site]),
    }


def main() -> None:
    """Run the verb of the command line."""
    time.sleep(float(os.environ.get(SLEEP, "0")))
    tree = params.load_params(layout.PARAMS)
    job = next(job for job in jobs(tree) if list(job.argv) == sys.argv[1:])
    run(job, tree)


if __name__ == "__main__":
    main()
