"""Miniature archives, and a server that misbehaves on demand."""

import io
import struct
import tarfile
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import py7zr
from PIL import Image


def picture(name: str, shade: int = 0, side: int = 8) -> bytes:
    """The bytes of a small image of the kind that its name says."""
    kinds = {"jpg": "JPEG", "bmp": "BMP", "png": "PNG"}
    buffer = io.BytesIO()
    colour = (shade % 256, shade // 256 % 256, len(name) % 256)
    Image.new("RGB", (side, side + 1), colour).save(buffer, kinds[name.lower()[-3:]])
    return buffer.getvalue()


def tgz(
    files: dict[str, bytes], compression: str = "gz", links: dict[str, str] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def seven_parts(files: dict[str, bytes]) -> tuple[bytes, bytes]:
    """What a 7z archive consists of behind its head: packed files, and its table as plain bytes."""
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        archive.set_encoded_header_mode(False)
        for name, data in files.items():
            archive.writestr(data, name)
    data = buffer.getvalue()
    packed, size, _ = struct.unpack("<QQI", data[12:32])
    return data[32 : 32 + packed], data[32 + packed :][:size]


def seven_of(packed: bytes, table: bytes) -> bytes:
    """A 7z archive of these parts, its checksums right."""
    place = struct.pack("<QQI", len(packed), len(table), zlib.crc32(table))
    return (
        b"7z\xbc\xaf\x27\x1c\x00\x04"
        + struct.pack("<I", zlib.crc32(place))
        + place
        + packed
        + table
    )


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def spreadsheet(rows: list[list[str]]) -> bytes:
    """A workbook as spreadsheet programs save it: texts shared, numbers in place."""
    texts = sorted({cell for row in rows for cell in row if not cell.lstrip("-").isdigit()})
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    lines = ""
    for number, row in enumerate(rows, 1):
        cells = ""
        for column, cell in zip("AB", row, strict=True):
            if cell in texts:
                cells += f'<c r="{column}{number}" t="s"><v>{texts.index(cell)}</v></c>'
            else:
                cells += f'<c r="{column}{number}"><v>{cell}</v></c>'
        lines += f'<row r="{number}">{cells}</row>'
    return zipped(
        {
            "xl/sharedStrings.xml": f"<sst {space}>{shared}</sst>".encode(),
            "xl/worksheets/sheet1.xml": (
                f"<worksheet {space}><sheetData>{lines}</sheetData></worksheet>".encode()
            ),
        }
    )


class Server:
    """A local HTTP server whose every answer can be made to fail.

    Attributes:
        files: bytes by path.
        faults: by path, how the next answers fail, one a request; then all goes well.
        asked: (path, Range header) of every request.
        most: how many requests were answered at one time, at most.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.most = self._busy = 0
        self._counting, self._closing = threading.Lock(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.close_connection = True
                with outer._counted():
                    outer.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._busy += 1
            self.most = max(self.most, self._busy)
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def ranges(self, path: str) -> list[str]:
        return [wanted for asked, wanted in self.asked if asked == path]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path, request.headers.get("Range", "")
        self.asked.append((path, wanted))
        fault = self.faults[path].pop(0) if self.faults.get(path) else ""
        data = self.files.get(path)
        if fault.isdigit() or data is None:
            self._send(request, int(fault) if fault.isdigit() else 404, b"", {})
            return
        if fault.startswith("redirect"):
            self._send(request, 302, b"", {"Location": path, "X-Linked-Etag": fault.split()[1]})
            return
        if fault == "stall before":
            time.sleep(1.5)
            return
        if fault == "wrong":
            data = data[:-8] + b"\xff" * 8 if len(data) > 8 else b"wrong"
        if fault == "web page":
            self._send(request, 200, b"<html>log in</html>", {"Content-Type": "text/html"})
            return
        etag = f'"{"new" if fault == "changed" else "v1"}"'
        start = 0
        headers = {"Content-Type": "application/octet-stream", "ETag": etag}
        if fault.startswith("weak"):
            headers["ETag"] = f'W/"{fault.split()[1]}"'
            data = data[::-1] if fault == "weak new" else data
        matches = request.headers.get("If-Range", etag) == etag
        if wanted and fault != "no range" and matches:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self._send(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        status = 206 if "Content-Range" in headers else 200
        length = len(body)
        if fault == "says more":
            length += 1000
        if fault == "says less":
            length //= 2
            headers.pop("Content-Range", None)
        if fault == "unsized":
            length, body = -1, body[: len(body) // 2]
        if fault == "weak old":
            body = body[:60]
        if fault.startswith("cut"):
            body = body[: int(fault.split()[1])]
        self._send(request, status, body, {**headers, "Content-Length": str(length)}, fault)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        fault: str = "",
    ) -> None:
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            if value != "-1":
                request.send_header(key, value)
        request.end_headers()
        try:
            if fault == "trickle":
                for place in range(0, len(body), 1000):
                    request.wfile.write(body[place : place + 1000])
                    request.wfile.flush()
                    time.sleep(0.02)
            elif fault in ("stall", "hang"):
                request.wfile.write(body[: len(body) // 2])
                request.wfile.flush()
                self._closing.wait(1.5 if fault == "stall" else 60)
            else:
                request.wfile.write(body)
        except OSError:
            # The client has given up: what many of the tests are about.
            return


#: Three images as a set's archive holds them.
SMALL = {f"Small/images/{number}.png": picture("a.png", number, 40) for number in range(3)}
