"""Bring one file over HTTP(S), Hugging Face or Google Drive, and go on where a cut left off.

Of the libraries at hand none resumes a plain HTTP download (pooch does not; huggingface_hub only
from its own hub), so this is a thin layer over urllib: a Range request and a record beside the
partial file that says which version of the file it is part of.
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
    """When a source is given up.

    Attributes:
        silence: seconds without a byte, or without an answer.
        tries: connections to one source that bring nothing, before it counts as dead.
        pause: seconds before the second of them; doubles each time.
        floor: bytes a second below which a source is slow.
        window: seconds over which that is measured.
    """

    silence: float = 30.0
    tries: int = 3
    pause: float = 1.0
    floor: float = 50_000.0
    window: float = 60.0


class SourceError(Exception):
    """A source does not give the file; the message says why, in a few words."""


class SlowSourceError(SourceError):
    """A source gives the file, but too slowly while there are others to try."""


class _InterruptedError(Exception):
    """A connection ended early; what it brought is kept."""


def file_name(source: Source) -> str:
    """Return the name a source's file is kept under."""
    if source.file:
        return source.file
    return urllib.parse.unquote(source.url.split("?")[0].rstrip("/").rpartition("/")[2])


def address(url: str) -> str:
    """Return the HTTP(S) address of a source's URL; ``HF_ENDPOINT`` names another hub."""
    scheme, _, rest = url.partition("://")
    if scheme == "gdrive":
        return GOOGLE_DRIVE + rest
    if scheme == "hf":
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        kind, owner, repository, path = rest.split("/", 3)
        return f"{hub}/{kind}/{owner}/{repository}/resolve/main/{path}"
    return url


def host(url: str) -> str:
    """Return the name of the machine that a source lies on, to show to people."""
    return urllib.parse.urlsplit(address(url)).netloc


def download(
    source: Source,
    patience: RetryPolicy | None = None,
    hurried: bool = False,
    advance: Advance = lambda count: None,
) -> Path:
    """Bring a source's file to ``work/downloads``, whole; a partial one is continued.

    Args:
        source: where it lies.
        patience: when to give up.
        hurried: whether there are other sources, so that a slow one is left.
        advance: told of bytes that came.

    Returns:
        The whole file; its size and any known or promised digest have been checked.

    Raises:
        SourceError: the source is dead, slow, or gives something else.
        WorkFailedError: the disk is too small.
    """
    patience = patience or RetryPolicy()
    whole = _place(source)
    with store.locked(whole):
        if not whole.exists():
            whole.parent.mkdir(parents=True, exist_ok=True)
            _fill(source, whole, patience, hurried, advance)
        return whole


def verified_download(source: Source) -> bool:
    """Say whether a length or a digest told that what `download` brought is the whole file.

    Where the server names neither, a connection that ends early looks like the end of the file.
    """
    whole = _place(source)
    record = _record(whole.with_name(whole.name + ".part"))
    told = (source.sha256, source.bytes, record.get("promised"), record.get("length"))
    return any(told)


def discard(source: Source) -> None:
    """Remove what was brought from a source, whole or in part."""
    shutil.rmtree(_place(source).parent, ignore_errors=True)


def _place(source: Source) -> Path:
    # Known content is one partial file whichever source gives it; other content never mixes.
    key = hashlib.sha256((source.sha256 or source.url).encode()).hexdigest()[:16]
    return DOWNLOADS / key / file_name(source)


def _fill(
    source: Source, whole: Path, patience: RetryPolicy, hurried: bool, advance: Advance
) -> None:
    part = whole.with_name(whole.name + ".part")
    idle, reason = 0, ""
    while idle < patience.tries:
        before = _size(part)
        try:
            promised = _continue(source, part, patience, hurried, advance)
            _check(source, part, promised)
        except _InterruptedError as cut:
            reason = str(cut)
        else:
            part.replace(whole)
            return
        # Only a connection that brings nothing counts against a source.
        idle = idle + 1 if _size(part) <= before else 0
        time.sleep(patience.pause * 2 ** max(0, idle - 1) if idle < patience.tries else 0)
    raise SourceError(reason)


def _continue(
    source: Source, part: Path, patience: RetryPolicy, hurried: bool, advance: Advance
) -> str:
    """Ask for what is lacking of ``part`` and write it; return the digest promised, if any."""
    have = _size(part)
    record = _record(part)
    try:
        reply, linked = _open_url(
            address(source.url), have, record.get("version", ""), patience.silence
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            # Nothing beyond what is there: whole, unless the record says otherwise.
            if have and have == record.get("length"):
                return str(record.get("promised", ""))
            _forget(part)
            raise _InterruptedError("the part here does not fit the file there") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _InterruptedError(f"HTTP {error.code}") from None
        raise SourceError(f"HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_describe_error(error)) from None
    with reply:
        wanted = part.name.removesuffix(".part").lower()
        if reply.headers.get_content_type() == "text/html" and not wanted.endswith(".html"):
            raise SourceError("a web page instead of the file (a login or a quota)")
        start = _start(reply) if reply.status == 206 else 0
        if start not in (0, have):
            _forget(part)
            raise _InterruptedError("another range than asked for")
        length = _length(reply, start)
        version = reply.headers.get("ETag") or reply.headers.get("Last-Modified", "")
        # A weak version goes out in no If-Range, and not every server heeds one.
        if start and (record.get("version", version), record.get("length", length)) != (
            version,
            length,
        ):
            _forget(part)
            raise _InterruptedError("the file there has changed")
        if source.bytes is not None and length is not None and length != source.bytes:
            raise SourceError(f"{length:,} bytes offered instead of {source.bytes:,}")
        promised = _sha256(linked)
        with disk_space.held(part.parent, (length or start) - start) as came:
            store.write_json(
                _record_path(part), {"version": version, "length": length, "promised": promised}
            )
            with part.open("r+b" if start else "wb") as out:
                out.seek(start)
                out.truncate()
                _copy_stream(
                    reply, out, patience, hurried, lambda count: (came(count), advance(count))
                )
    if length is not None and _size(part) < length:
        raise _InterruptedError(f"cut off at {_size(part):,} of {length:,} bytes")
    return promised


def _copy_stream(
    reply: HTTPResponse, out: IO[bytes], patience: RetryPolicy, hurried: bool, advance: Advance
) -> None:
    since, came = time.monotonic(), 0
    for piece in _pieces(reply):
        out.write(piece)
        advance(len(piece))
        came += len(piece)
        lasted = time.monotonic() - since
        if lasted >= patience.window:
            if hurried and came < patience.floor * lasted:
                raise SlowSourceError(f"slow, {came / lasted / 1000:.1f} kB/s")
            since, came = time.monotonic(), 0


def _pieces(reply: HTTPResponse) -> Iterator[bytes]:
    try:
        # read1 gives what has come, so that a trickle is seen as one.
        while piece := reply.read1(1 << 20):
            yield piece
    except (OSError, HTTPException) as error:
        raise _InterruptedError(_describe_error(error)) from None


def _check(source: Source, part: Path, promised: str) -> None:
    size = _size(part)
    expected = source.sha256 or promised
    fault = ""
    if source.bytes is not None and size != source.bytes:
        fault = f"{size:,} bytes instead of {source.bytes:,}"
    elif expected and store.file_digest(part) != expected:
        fault = "wrong digest"
    elif size == 0:
        fault = "an empty file"
    if fault:
        _forget(part)
        raise SourceError(fault)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps the digest that Hugging Face gives on the way."""

    def __init__(self) -> None:
        self.linked = ""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> Any:
        self.linked = headers.get("X-Linked-Etag", self.linked)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open_url(url: str, have: int, version: str, timeout: float) -> tuple[HTTPResponse, str]:
    # identity: a compressed transfer would have another length and no ranges.
    headers = {"User-Agent": "reiqa", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version and not version.startswith("W/"):
            headers["If-Range"] = version
    following = _RedirectHandler()
    opener = urllib.request.build_opener(following)
    reply: HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    return reply, following.linked or reply.headers.get("X-Linked-Etag", "")


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


def _record(part: Path) -> dict[str, Any]:
    path = _record_path(part)
    return dict(store.read_json(path)) if path.exists() else {}


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _record_path(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _describe_error(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return " ".join(str(reason or type(error).__name__).split())
