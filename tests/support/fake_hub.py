"""A local server that answers like the Hugging Face Hub, as far as file downloads need it."""

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    """Commits of a repository.

    Attributes:
        commits: files by name, by the 40 digits of the commit.
        refs: commits of branches and tags.
        access: open, private or gated; who asks has no token.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    access: str = "open"

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Add a commit and move a branch or tag to it."""
        name = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.refs[ref] = name
        return name


class FakeHub:
    """Serves ``/USER/REPO/resolve/REVISION/FILE``; large files by a redirect, as the hub does.

    Attributes:
        repositories: by ``USER/REPO``.
        asked: method and path of every request.
        failing: answer every request with this status.
        url: address for ``HF_ENDPOINT``.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str]] = []
        self.failing: int | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                outer._answer(self)

            def do_GET(self) -> None:
                outer._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files_asked(self) -> set[str]:
        """Names of the files that were asked for, without refs and commits."""
        return {path.rpartition("/")[2] for _, path in self.asked if "/resolve/" in path}

    def downloads(self) -> list[str]:
        """Names of the files whose bytes were asked for, in order."""
        sent = [path for method, path in self.asked if method == "GET"]
        return [
            path.rpartition("/")[2] for path in sent if "/resolve/" in path or "/blobs/" in path
        ]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked.append((request.command, path))
        parts = path.strip("/").split("/")
        if self.failing:
            self._send(request, self.failing)
        elif parts[0] == "blobs" and len(parts) > 5:
            self._send(request, 200, self._blob(parts))
        elif len(parts) < 5 or parts[2] != "resolve":
            self._send(request, 404)
        else:
            self._resolve(request, "/".join(parts[:2]), "/".join(parts[3:-1]), parts[-1])

    def _blob(self, parts: list[str]) -> bytes:
        return self.repositories["/".join(parts[1:3])].commits[parts[3]][parts[-1]]

    def _resolve(
        self, request: BaseHTTPRequestHandler, repository: str, revision: str, name: str
    ) -> None:
        found = self.repositories.get(repository)
        if found is None or found.access == "private":
            self._send(request, 401, headers={"X-Error-Code": "RepoNotFound"})
            return
        if found.access == "gated":
            self._send(request, 403, headers={"X-Error-Code": "GatedRepo"})
            return
        commit = found.refs.get(revision.replace("%2F", "/"), revision)
        if commit not in found.commits:
            self._send(request, 404, headers={"X-Error-Code": "RevisionNotFound"})
            return
        headers = {"X-Repo-Commit": commit}
        data = found.commits[commit].get(name)
        if data is None:
            self._send(request, 404, headers={**headers, "X-Error-Code": "EntryNotFound"})
            return
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if name.endswith(".json"):
            self._send(request, 200, data, {**headers, "ETag": etag})
            return
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(data))}
        # Another host name, because a redirect within the hub means a renamed repository.
        elsewhere = self.url.replace("127.0.0.1", "localhost")
        headers["Location"] = f"{elsewhere}/blobs/{repository}/{commit}/large/{name}"
        self._send(request, 302, headers=headers)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)
