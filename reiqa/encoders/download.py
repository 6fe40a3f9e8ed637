"""Download published checkpoints."""

from dataclasses import dataclass
from pathlib import Path

from reiqa import progress, store
from reiqa.catalog import Source
from reiqa.data import sources
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import ExpertName

#: Folder of the checkpoints; ``file`` of an imported expert refers to it.
PLACE = Path("data/weights")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A published checkpoint.

    Attributes:
        url: source.
        expert: expert that it can be imported as.
        digest: first digits of its SHA-256, or empty if unknown.
        licence: its licence.
    """

    url: str
    expert: ExpertName
    digest: str
    licence: str


#: Checkpoints that `import_weights` supports, all of a ResNet-50.
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
    """Download a published checkpoint, or verify an existing one.

    The digest is recorded next to the file at the first download and verified later.

    Args:
        name: a key of `PUBLISHED`.

    Returns:
        Path of the file in `PLACE`.

    Raises:
        BadInputError: the name is unknown, or the file does not match the recorded digest.
        WorkFailedError: the download failed, or it is not the published file.
    """
    if name not in PUBLISHED:
        raise BadInputError(f"weights {name!r}: unknown; allowed: {', '.join(sorted(PUBLISHED))}")
    path, published = PLACE / f"{name}.pth", PUBLISHED[name]
    if not path.exists():
        _download(published, path)
    digest = store.file_digest(path)
    if not digest.startswith(published.digest):
        path.unlink()
        raise WorkFailedError(
            f"{path}: checksum mismatch (SHA-256 {digest[:8]}..., published {published.digest}...)."
            " The file has been deleted. Rerun to download it again."
        )
    record = path.with_suffix(".json")
    if not record.exists():
        store.write_json(
            record, {"url": published.url, "sha256": digest, "licence": published.licence}
        )
    elif store.read_json(record)["sha256"] != digest:
        raise BadInputError(
            f"{path}: does not match the digest in {record}. Restore the file, or delete both."
        )
    progress.log(f"{path}: SHA-256 {digest}; licence: {published.licence}")
    return path


def _download(published: PublishedCheckpoint, path: Path) -> None:
    source = Source(url=published.url)
    try:
        with progress.progress_bar(f"fetch {path.stem}", unit="bytes") as bar:
            downloaded = sources.download(source, advance=bar.update)
    except sources.SourceError as error:
        raise WorkFailedError(
            f"{published.url}: download failed ({error}). Put the file at {path} and rerun."
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    downloaded.replace(path)
    sources.discard(source)
