"""Published checkpoints, brought to this machine where there is a network."""

from dataclasses import dataclass
from pathlib import Path

from reiqa import progress, store
from reiqa.catalog import Source
from reiqa.data import sources
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ExpertName

#: Where they are kept; what ``file`` of an imported expert then names.
PLACE = Path("data/weights")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint that others keep.

    Attributes:
        url: where.
        expert: what it can become.
        digest: how its SHA-256 begins; empty where that is not known.
        licence: under which it may be used.
    """

    url: str
    expert: ExpertName
    digest: str
    licence: str


#: Those that `import_weights` reads, all of a ResNet-50.
PUBLISHED: dict[str, PublishedCheckpoint] = {
    "reiqa_quality": PublishedCheckpoint(
        "gdrive://1DYMx8omn69yXUmBFL728JD3qMLNogFt8", "quality", "", "not stated by its authors"
    ),
    "reiqa_content": PublishedCheckpoint(
        "gdrive://1TO-5fmZFT2_nt99j4IZen6vmXUb_UL3n", "content", "", "not stated by its authors"
    ),
    "moco_v2_800ep": PublishedCheckpoint(
        "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/"
        "moco_v2_800ep_pretrain.pth.tar",
        "content",
        "a04e12f8",
        "CC-BY-NC-4.0",
    ),
}


def fetch_checkpoint(name: str) -> Path:
    """Download a published checkpoint, or check the one that is there.

    Its digest is recorded beside it the first time, and must be the same ever after.

    Args:
        name: a key of `PUBLISHED`.

    Returns:
        The file, below `PLACE`.

    Raises:
        BadInputError: there is no such name, or the file there is not the one once recorded.
        WorkFailedError: it cannot be had, or is not the published file.
    """
    if name not in PUBLISHED:
        raise BadInputError(f"weights {name!r}: unknown; allowed: {', '.join(sorted(PUBLISHED))}")
    path, published = PLACE / f"{name}.pth", PUBLISHED[name]
    if not path.exists():
        _download(published, path)
    found = store.file_digest(path)
    if not found.startswith(published.digest):
        path.unlink()
        raise WorkFailedError(
            f"{path}: SHA-256 {found[:8]}..., not {published.digest}... as published;"
            " deleted, try again"
        )
    record = path.with_suffix(".json")
    if not record.exists():
        store.write_json(
            record, {"url": published.url, "sha256": found, "licence": published.licence}
        )
    elif store.read_json(record)["sha256"] != found:
        raise BadInputError(
            f"{path}: not the file that {record} records; delete both or restore it"
        )
    progress.log(f"{path}: SHA-256 {found}; licence: {published.licence}")
    return path


def _download(published: PublishedCheckpoint, path: Path) -> None:
    source = Source(url=published.url)
    try:
        with progress.progress_bar(f"fetch {path.stem}", unit="bytes") as shown:
            whole = sources.download(source, advance=shown.update)
    except sources.SourceError as error:
        raise WorkFailedError(f"{published.url}: {error}; or put the file at {path}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(path)
    sources.discard(source)
