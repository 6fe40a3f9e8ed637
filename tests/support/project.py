"""A project of its own for a test: this tree's workflow with the smallest parameters."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

ROOT = Path(__file__).parents[2]

_WORKFLOW = (
    "Snakefile",
    "workflow",
    "profiles",
    "datasets.yaml",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc",
)


def tiny_parameters() -> dict[str, Any]:
    """The demo preset with the least of everything that still is the whole job.

    The experts are small and start from random weights.
    """
    tree: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["preset"] = "tiny"
    tree["chunks"].update(n_aug=2, patch=32, windows_per_image=1)
    for expert in ("content", "quality"):
        tree[expert].update(backbone="mobilenet_v3_small", init="random")
        tree[expert]["training"].update(
            epochs=1, batch_size=4, queue_size=64, checkpoint_every=5,
            batchnorm="shuffle", distortion_losses=None,
        )  # fmt: skip
    tree["content"]["view"] = 32
    tree["features"].update(scales=[0.5], pooling="last")
    tree["regression"].update(
        splits=2, bootstrap=20, alphas=[0.01, 100.0, 3], target="ratings", clip=None
    )
    tree["report"].update(thumbnails=1)
    return tree


@dataclass(frozen=True)
class Project:
    """A folder with git, DVC and Snakemake, in which the verbs of this environment run."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, parameters: dict[str, Any] | None = None) -> Self:
        """Make one from this tree's workflow files."""
        folder.mkdir(parents=True)
        kept_out = shutil.ignore_patterns("tmp", "cache", "config.local", "btime")
        for name in _WORKFLOW:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=kept_out)
            else:
                shutil.copy(source, folder / name)
        project = cls(folder)
        project.write_parameters(parameters or tiny_parameters())
        project.run("git", "init", "-q", "-b", "main")
        project.commit("A project")
        return project

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment here; return it finished, whatever its exit code."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, *command: str, **environment: str) -> str:
        """Run a command that has to end well; return all that it printed."""
        done = self.run(*command, **environment)
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{printed}"
        return printed

    def environment(self, **extra: str) -> dict[str, str]:
        """The variables commands run under: this environment's scripts first, one git identity."""
        scripts = str(Path(sys.executable).parent)
        identity = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
        }
        path = os.pathsep.join([scripts, os.environ["PATH"]])
        return {**os.environ, **identity, "PATH": path, **extra}

    def clone(self, folder: Path) -> "Project":
        """Clone what is committed into another folder."""
        self.must("git", "clone", "-q", str(self.folder), str(folder))
        return Project(folder)

    def commit(self, message: str) -> None:
        """Commit everything that is not ignored."""
        self.must("git", "add", "-A")
        self.must("git", "commit", "-q", "-m", message)

    def write_parameters(self, tree: dict[str, Any]) -> None:
        """Replace params.yaml."""
        (self.folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

    def set_parameter(self, section: str, key: str, value: object) -> None:
        """Change one parameter."""
        tree = yaml.safe_load((self.folder / "params.yaml").read_text())
        tree[section][key] = value
        self.write_parameters(tree)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how often Snakemake would run each rule for the results table."""
        target = "results/all_srcc.csv"
        printed = self.must("snakemake", "-n", target, *arguments)
        jobs: dict[str, int] = {}
        for line in printed.partition("Job stats:")[2].splitlines()[3:]:
            if not line.strip():
                break
            rule, count = line.split()
            jobs[rule] = int(count)
        jobs.pop("total", None)
        return jobs
