"""Bundles on the Hugging Face Hub: ``hf://USER/REPO`` or ``hf://USER/REPO@REVISION``.

Downloads go through huggingface_hub and its cache, so its environment variables apply:
``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``. Only the files of a bundle are
downloaded, whatever else the repository contains.
"""

import re
from pathlib import Path

from reiqa import store
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.scoring.bundle import MANIFEST, PARTS, read_manifest

#: Prefix of an address on the hub.
SCHEME = "hf://"

# A revision is a branch, a tag or a commit. It becomes part of a path in the cache.
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(\w(?:[\w./-]*\w)?))?", re.ASCII)


def fetch_bundle(address: str) -> Path:
    """Download a bundle from the hub, or find it in the cache; return its folder.

    All files come from the same commit. Without a connection, the last downloaded commit of the
    revision is used.

    Args:
        address: ``hf://USER/REPO`` or ``hf://USER/REPO@REVISION``.

    Raises:
        BadInputError: the address is invalid, huggingface_hub is not installed, or the repository
            or revision does not exist or contains no valid bundle.
        WorkFailedError: the download failed.
    """
    repository, revision = parse_address(address)
    # Folders of the cache are named after their commit.
    folder = _download(address, repository, revision, MANIFEST).parent
    try:
        digests = read_manifest(folder).parts
    except BadInputError as error:
        raise BadInputError(f"{address}: {error}") from None
    for part in PARTS:
        path = _download(address, repository, folder.name, part)
        if store.file_digest(path) != digests.get(part):
            # The file in the cache may be damaged. Its snapshot has a link to it.
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            path = _download(address, repository, folder.name, part)
        if store.file_digest(path) != digests.get(part):
            raise BadInputError(
                f"{address}: {part}: checksum mismatch with {MANIFEST} in the repository;"
                " use another revision, or ask its owner to upload the complete bundle"
            )
    return folder


def parse_address(address: str) -> tuple[str, str | None]:
    """Return ``USER/REPO`` and the revision, if there is one.

    Raises:
        BadInputError: the address is invalid.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or ".." in address:
        raise BadInputError(
            f"{address}: invalid address; expected {SCHEME}USER/REPO or {SCHEME}USER/REPO@REVISION"
        )
    return match[1], match[2]


def _download(address: str, repository: str, revision: str | None, name: str) -> Path:
    """Return the path of a file in the cache, after downloading it if necessary.

    Raises:
        BadInputError: huggingface_hub is not installed, or the file does not exist.
        WorkFailedError: the download failed.
    """
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError:
        raise BadInputError(
            f"{address}: needs the package huggingface_hub; run: pip install 'reiqa[hub]'"
        ) from None
    hub = constants.ENDPOINT
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except errors.HFValidationError as error:
        raise BadInputError(f"{address}: {error}") from None
    except errors.GatedRepoError:
        raise BadInputError(
            f"{address}: access is restricted; request it at {hub}/{repository},"
            " then run: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise BadInputError(
            f"{address}: no such repository at {hub}; check the name, or run hf auth login if it"
            " is private"
        ) from None
    except errors.RevisionNotFoundError:
        raise BadInputError(
            f"{address}: no such revision; use a branch, tag or commit of {repository}"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise WorkFailedError(
            f"{address}: {name} is not in the cache ({constants.HF_HUB_CACHE}), and {hub} cannot be"
            f" used ({_one_line(error.__cause__ or error)}); check the connection, HF_ENDPOINT and"
            " HF_HUB_OFFLINE"
        ) from None
    except errors.EntryNotFoundError:
        raise BadInputError(
            f"{address}: not a bundle, because the repository has no file {name}"
        ) from None
    except Exception as error:
        # Which HTTP library raises here depends on the version of huggingface_hub.
        if isinstance(error, OSError) and error.errno in store.DISK_FULL_ERRORS:
            raise
        if isinstance(error, OSError) and error.filename:
            raise BadInputError(
                f"{address}: {error.filename}: {error.strerror}; set HF_HOME to a folder that you"
                " can write to"
            ) from None
        raise WorkFailedError(
            f"{address}: download of {name} failed ({_one_line(error)})"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
