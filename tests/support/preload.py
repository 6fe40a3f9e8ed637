"""What the fork server imports once: every room, and the demo's sets in miniature."""

import itertools
import os
import sys

import torch
from support import fault_injection

import reiqa.encoders
import reiqa.scoring.build
import reiqa.scoring.run  # noqa: F401
from reiqa import catalog, cli, store
from reiqa.catalog import DatasetEntry, Source, SourceFile
from reiqa.chunks import render, shards  # noqa: F401
from reiqa.data import demo, fetch, index  # noqa: F401
from reiqa.probe import run

os.environ.setdefault("OMP_NUM_THREADS", "1")

torch.set_num_threads(1)

_PHOTOGRAPHS = run.load_photographs
demo.STRUCTURAL = ("gaussian_blur", "white_noise")
demo.LONGER_SIDE = 272
demo._MIXED_PER_REFERENCE = 4
# The references are so many that each set can be split; three photographs are learned from.
_TITLES = {"demo": 12, "demo_mixed": 4, "demo_corpus": 3}
demo.PHOTOGRAPHS = {
    name: dict(itertools.islice(demo.PHOTOGRAPHS[name].items(), count))
    for name, count in _TITLES.items()
}
run._WINDOWS_PER_PHOTOGRAPH, run.SIDE = 1, 64
run.load_photographs = lambda: dict(itertools.islice(_PHOTOGRAPHS().items(), 3))

_PARCEL = DatasetEntry(
    name="parcel",
    title="A parcel",
    kind="corpus",
    authentic=True,
    images=3,
    citation="none",
    licence="none",
    folders=("nowhere",),
    parts=(SourceFile(sources=(Source(url=f"https://example.org/{fault_injection.ARCHIVE}"),)),),
)
_entries = dict(catalog.load_catalog()) | {"parcel": _PARCEL}
for _name, _each in {"demo": 1 + 2 * 2, "demo_mixed": 1 + 4, "demo_corpus": 1}.items():
    _count = _TITLES[_name]
    _entries[_name] = _entries[_name].model_copy(
        update={"images": _count * _each, "references": _count if _each > 1 else None}
    )
catalog.load_catalog = lambda: _entries  # type: ignore[assignment]

# Asked of git once, not by every verb; a commit meanwhile must not change what verbs write.
store.revision()


def main(argv: list[str]) -> None:
    """Run a verb as from a shell, and end with its exit code."""
    sys.argv = ["reiqa", *argv]
    cli.main()
