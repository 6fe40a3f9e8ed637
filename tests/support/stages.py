"""The stage verbs of the miniature project, in order: how each is called and what it makes."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One verb as the fault suite runs it.

    Attributes:
        name: of the stage.
        argv: of the verb.
        makes: patterns of the files and folders that it makes, in the project's folder.
        cheap: an undisturbed run takes well under a second.
        sealed: it makes an artifact with provenance.
    """

    name: str
    argv: tuple[str, ...]
    makes: tuple[str, ...]
    cheap: bool = False
    sealed: bool = True

    def undo(self, folder: Path) -> None:
        """Take away all that it made, its partial work too."""
        for pattern in self.makes:
            for path in folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _stage(name: str, argv: str, *makes: str, cheap: bool = False, sealed: bool = True) -> Stage:
    return Stage(name, tuple(argv.split()), makes, cheap, sealed)


def _fetch(name: str, more: str = "", cheap: bool = False) -> Stage:
    made = (f"data/raw/{name}*", f"work/fetched/{name}.json", f"work/unpack/{name}")
    if more:
        made = (*made, "data/digests.json")
    return _stage(f"fetch {name}", f"fetch --dataset {name}{more}", *made, cheap=cheap)


def _index(name: str) -> Stage:
    return _stage(f"index {name}", f"index --dataset {name}", f"data/index/{name}.csv*", cheap=True)


def _pretrain(expert: str) -> Stage:
    made = (f"models/{expert}.*", f"work/pretrain/{expert}-*")
    return _stage(f"pretrain {expert}", f"pretrain --expert {expert}", *made)


def _features(name: str) -> Stage:
    made = (f"features/{name}", f"work/features/*/{name}-*")
    return _stage(f"features {name}", f"features --dataset {name}", *made)


def _fit(name: str) -> Stage:
    return _stage(f"fit {name}", f"fit --dataset {name}", f"results/datasets/{name}.*", cheap=True)


ALL = (
    _fetch("parcel", " --mirror mirror", cheap=True),
    _fetch("demo"),
    _fetch("demo_mixed"),
    _fetch("demo_corpus"),
    _index("demo"),
    _index("demo_mixed"),
    _index("demo_corpus"),
    _stage("chunks", "chunks --corpus demo_corpus", "data/chunks/demo_corpus", cheap=True),
    _pretrain("content"),
    _pretrain("quality"),
    _stage("probe", "probe", "models/probe.json*"),
    _features("demo"),
    _features("demo_mixed"),
    _fit("demo"),
    _fit("demo_mixed"),
    _stage("cross", "cross", "results/cross.csv*", cheap=True),
    _stage("report", "report", "results/all_srcc.csv*", "results/report.*", "results/summary.json",
           "results/plots", "results/tables"),
    _stage("bundle", "bundle --dataset demo --out bundles/mine", "bundles/mine", cheap=True,
           sealed=False),
    _stage("score", "score data/raw/parcel --bundle bundles/mine --out scores.csv", "scores.csv",
           sealed=False),
)  # fmt: skip

#: One of a kind: what is tried of a set that is made here is not tried of the next.
EACH = tuple(
    stage
    for stage in ALL
    if stage.name
    not in {
        "fetch demo",
        "fetch demo_corpus",
        "index demo_mixed",
        "features demo",
        "fit demo_mixed",
    }
)
CHEAP = tuple(stage for stage in EACH if stage.cheap)


def named(name: str) -> Stage:
    """Return a stage by its name."""
    return next(stage for stage in ALL if stage.name == name)
