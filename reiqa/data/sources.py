"""Download one file over HTTP(S), from Hugging Face or from Google Drive, with resume.

This is a thin layer over urllib, because pooch does not resume downloads and huggingface_hub only
resumes downloads from its own hub. It sends a Range request. A record next to the partial file
states which version of the file it belongs to.
"""

import hashlib
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any

from reiqa import store
from reiqa.catalog import Source
from reiqa.data import disk_space
from reiqa.data.disk_space import Advance

DOWNLOADS = store.WORK / "downloads"

GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries of a download.

    Attributes:
        silence: read timeout in seconds.
        tries: number of consecutive connections without data before a source fails.
        pause: delay in seconds before the first retry; doubles with each retry.
        floor: bytes per second below which a source counts as slow.
        window: seconds over which the speed is measured.
    """

    silence: float = 30.0
    tries: int = 3
    pause: float = 1.0
    floor: float = 50_000.0
    window: float = 60.0


class SourceError(Exception):
    """A source failed to provide the file; the message gives a short reason."""


class SlowSourceError(SourceError):
    """A source is too slow, and other sources have not been tried yet."""


class _InterruptedError(Exception):
    """A connection ended early; the received bytes are kept."""


def file_name(source: Source) -> str:
    """Return the local file name of a source."""
    if source.file:
        return source.file
    return urllib.parse.unquote(source.url.split("?")[0].rstrip("/").rpartition("/")[2])


def address(url: str) -> str:
    """Return the HTTP(S) address of a source's URL; ``HF_ENDPOINT`` selects the hub."""
    scheme, _, rest = url.partition("://")
    if scheme == "gdrive":
        return GOOGLE_DRIVE + rest
    if scheme == "hf":
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        kind, owner, repository, path = rest.split("/", 3)
        return f"{hub}/{kind}/{owner}/{repository}/resolve/main/{path}"
    return url


def host(url: str) -> str:
    """Return the host name of a source, for messages."""
    return urllib.parse.urlsplit(address(url)).netloc


def download(
    source: Source,
    patience: RetryPolicy | None = None,
    skip_slow: bool = False,
    advance: Advance = lambda count: None,
) -> Path:
    """Download a file into ``work/downloads``; a partial download is resumed.

    Args:
        source: location of the file.
        patience: timeouts and retries.
        skip_slow: fail on a slow source, because there are other sources to try.
        advance: called with the number of bytes received.

    Returns:
        Path of the complete file, after checking its size and digest where known.

    Raises:
        SourceError: the source is unavailable, slow, or provides a different file.
        WorkFailedError: the disk is too small.
    """
    patience = patience or RetryPolicy()
    target = _download_path(source)
    with store.locked(target):
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _download_with_retries(source, target, patience, skip_slow, advance)
        return target


def verified_download(source: Source) -> bool:
    """Return whether a known length or digest confirmed that a download is complete.

    If the server sends neither, a connection that ends early looks like the end of the file.
    """
    target = _download_path(source)
    record = _read_record(target.with_name(target.name + ".part"))
    evidence = (source.sha256, source.bytes, record.get("announced"), record.get("length"))
    return any(evidence)


def discard(source: Source) -> None:
    """Remove the complete or partial download of a source."""
    shutil.rmtree(_download_path(source).parent, ignore_errors=True)


def _download_path(source: Source) -> Path:
    # Sources with the same digest share one partial file; all others have their own.
    key = hashlib.sha256((source.sha256 or source.url).encode()).hexdigest()[:16]
    return DOWNLOADS / key / file_name(source)


def _download_with_retries(
    source: Source, target: Path, patience: RetryPolicy, skip_slow: bool, advance: Advance
) -> None:
    part = target.with_name(target.name + ".part")
    idle, reason = 0, ""
    while idle < patience.tries:
        before = _size(part)
        try:
            announced = _resume(source, part, patience, skip_slow, advance)
            _check(source, part, announced)
        except _InterruptedError as cut:
            reason = str(cut)
        else:
            part.replace(target)
            return
        # Only a connection without data counts as a failed try.
        idle = idle + 1 if _size(part) <= before else 0
        time.sleep(patience.pause * 2 ** max(0, idle - 1) if idle < patience.tries else 0)
    raise SourceError(reason)


def _resume(
    source: Source, part: Path, patience: RetryPolicy, skip_slow: bool, advance: Advance
) -> str:
    """Request the rest of ``part`` and append it; return the announced digest, if any."""
    have = _size(part)
    record = _read_record(part)
    try:
        reply, linked = _open_url(
            address(source.url), have, record.get("version", ""), patience.silence
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # The partial file has reached the end: complete if the record has the same length.
            if have and have == record.get("length"):
                return str(record.get("announced", ""))
            _remove_partial(part)
            raise _InterruptedError(
                "the partial file does not match the file on the server"
            ) from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _InterruptedError(f"HTTP {error.code}") from None
        raise SourceError(f"HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_describe_error(error)) from None
    with reply:
        wanted = part.name.removesuffix(".part").lower()
        if reply.headers.get_content_type() == "text/html" and not wanted.endswith(".html"):
            raise SourceError("received a web page instead of the file (login or quota page)")
        start = _start(reply) if reply.status == 206 else 0
        if start not in (0, have):
            _remove_partial(part)
            raise _InterruptedError("the server sent a different range than requested")
        length = _length(reply, start)
        version = reply.headers.get("ETag") or reply.headers.get("Last-Modified", "")
        # A weak ETag is not sent as If-Range, and some servers ignore the header.
        if start and (record.get("version", version), record.get("length", length)) != (
            version,
            length,
        ):
            _remove_partial(part)
            raise _InterruptedError("the file on the server has changed")
        if source.bytes is not None and length is not None and length != source.bytes:
            raise SourceError(f"the server announces {length:,} bytes, expected {source.bytes:,}")
        announced = _sha256(linked)
        with disk_space.reserve(part.parent, (length or start) - start) as count_written:
            store.write_json(
                _record_path(part), {"version": version, "length": length, "announced": announced}
            )
            with part.open("r+b" if start else "wb") as out:
                out.seek(start)
                out.truncate()
                _copy_stream(
                    reply,
                    out,
                    patience,
                    skip_slow,
                    lambda count: (count_written(count), advance(count)),
                )
    if length is not None and _size(part) < length:
        raise _InterruptedError(f"truncated at {_size(part):,} of {length:,} bytes")
    return announced


def _copy_stream(
    reply: HTTPResponse, out: IO[bytes], patience: RetryPolicy, skip_slow: bool, advance: Advance
) -> None:
    since, received = time.monotonic(), 0
    for piece in _pieces(reply):
        out.write(piece)
        advance(len(piece))
        received += len(piece)
        elapsed = time.monotonic() - since
        if elapsed >= patience.window:
            if skip_slow and received < patience.floor * elapsed:
                raise SlowSourceError(f"slow, {received / elapsed / 1000:.1f} kB/s")
            since, received = time.monotonic(), 0


def _pieces(reply: HTTPResponse) -> Iterator[bytes]:
    try:
        # read1 returns available bytes without waiting, so that a slow source is noticed.
        while piece := reply.read1(1 << 20):
            yield piece
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_describe_error(error)) from None


def _check(source: Source, part: Path, announced: str) -> None:
    size = _size(part)
    expected = source.sha256 or announced
    fault = ""
    if source.bytes is not None and size != source.bytes:
        fault = f"{size:,} bytes, expected {source.bytes:,}"
    elif expected and store.file_digest(part) != expected:
        fault = "checksum mismatch"
    elif size == 0:
        fault = "empty file"
    if fault:
        _remove_partial(part)
        raise SourceError(fault)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirects and stores the digest that Hugging Face sends with them."""

    def __init__(self) -> None:
        self.linked = ""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> Any:
        self.linked = headers.get("X-Linked-Etag", self.linked)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open_url(url: str, have: int, version: str, timeout: float) -> tuple[HTTPResponse, str]:
    # identity: a compressed transfer would have a different length and no ranges.
    headers = {"User-Agent": "reiqa", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version and not version.startswith("W/"):
            headers["If-Range"] = version
    handler = _RedirectHandler()
    opener = urllib.request.build_opener(handler)
    reply: HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    return reply, handler.linked or reply.headers.get("X-Linked-Etag", "")


def _start(reply: HTTPResponse) -> int:
    span = reply.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(span) if span.isdigit() else -1


def _length(reply: HTTPResponse, start: int) -> int | None:
    total = reply.headers.get("Content-Range", "").rpartition("/")[2]
    if reply.status == 206 and total.isdigit():
        return int(total)
    length = reply.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _sha256(etag: str) -> str:
    text = etag.strip('"').lower()
    return text if len(text) == 64 and not text.strip("0123456789abcdef") else ""


def _record_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_record(part: Path) -> dict[str, Any]:
    path = _record_path(part)
    return dict(store.read_json(path)) if path.exists() else {}


def _remove_partial(part: Path) -> None:
    part.unlink(missing_ok=True)
    _record_path(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _describe_error(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "read timed out"
    return " ".join(str(reason or type(error).__name__).split())
