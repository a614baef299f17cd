"""A hub on loopback: the parts of Hugging Face's HTTP interface that a download needs.

It lists repos with sizes and hashes, redirects large files to another host name as the real one
redirects to its CDN, answers ranges, and misbehaves where a test asks for it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = 2000  # bytes, from which a file is kept with git-LFS
PIECE = 2**14


@dataclass
class Cut:
    """Send so many bytes of the body, then break the connection."""

    after: int


@dataclass
class Refuse:
    """Answer with a status."""

    status: int
    retry_after: str = ""


@dataclass
class Hold:
    """Send so many bytes, say so, and go on once released."""

    after: int
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass
class Damage:
    """Send other bytes of the same length."""


@dataclass
class NoRange:
    """Ignore the range that was asked for."""


@dataclass
class WrongPart:
    """Answer a range with another one."""


@dataclass
class Page:
    """Answer 200 with these bytes, in chunks and without a length."""

    content: bytes


Fault = Cut | Refuse | Hold | Damage | NoRange | WrongPart | Page


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    host: str
    range: str
    token: str


class Hub:
    """Repos in memory, and what to do wrong: one fault is used up by each answer."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.faults: dict[str, list[Fault]] = {}  # by the file's name, or "api"
        self.gated: set[str] = set()
        self.asked: list[Asked] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, repo: str, path: str, content: bytes) -> None:
        self.repos.setdefault(repo, {})[path] = content

    def fault(self, name: str, *faults: Fault) -> None:
        self.faults.setdefault(name, []).extend(faults)

    def next_fault(self, name: str) -> Fault | None:
        waiting = self.faults.get(name, [])
        return waiting.pop(0) if waiting else None

    def bodies(self, name: str) -> list[Asked]:
        """Return the requests for the bytes of the files of that name."""
        return [a for a in self.asked if a.path.endswith(f"/{name}") and "/api/" not in a.path]

    def ranges(self, name: str) -> list[str]:
        return [asked.range for asked in self.bodies(name) if asked.range]

    def info(self, repo: str) -> dict[str, Any]:
        return {
            "id": repo,
            "sha": COMMIT,
            "siblings": [_sibling(path, content) for path, content in self.repos[repo].items()],
        }


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """Serve an empty hub until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        for faults in hub.faults.values():
            for fault in faults:
                if isinstance(fault, Hold):
                    fault.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    header = f"blob {len(content)}\0".encode()
    entry: dict[str, Any] = {
        "rfilename": path,
        "size": len(content),
        "blobId": hashlib.sha1(header + content).hexdigest(),
    }
    if len(content) >= LARGE:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Stay silent."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        sent = self.headers
        self.hub.asked.append(
            Asked(
                self.command,
                path,
                sent["Host"],
                sent.get("Range", ""),
                sent.get("Authorization", ""),
            )
        )
        try:
            if listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
                self._list(listed[1])
            elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._resolve(file[1], file[2], file[3])
            elif file := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
                self._file(self.hub.repos[file[1]][file[2]], file[2].rpartition("/")[2])
            else:
                self._short(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _list(self, repo: str) -> None:
        fault = self.hub.next_fault("api")
        if isinstance(fault, Refuse):
            self._short(fault.status, fault.retry_after)
        elif isinstance(fault, Page):
            self._page(fault.content)
        elif repo not in self.hub.repos:
            self._short(404, code="RepoNotFound")
        else:
            body = json.dumps(self.hub.info(repo)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        if repo in self.hub.gated and "Authorization" not in self.headers:
            self._short(403, code="GatedRepo")
        elif revision != COMMIT or path not in self.hub.repos.get(repo, {}):
            self._short(404, code="EntryNotFound")
        elif len(content := self.hub.repos[repo][path]) >= LARGE:
            self.send_response(302)
            cdn = f"http://localhost:{self.hub.port}/cdn/{repo}/{path}?signature=secret"
            self.send_header("Location", cdn)
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._file(content, path.rpartition("/")[2])

    def _file(self, content: bytes, name: str) -> None:
        fault = self.hub.next_fault(name)
        if isinstance(fault, Refuse):
            self._short(fault.status, fault.retry_after)
            return
        if isinstance(fault, Page):
            self._page(fault.content)
            return
        if isinstance(fault, Damage):
            content = bytes(value ^ 255 for value in content)
        start = 0
        if (wanted := self.headers.get("Range")) and not isinstance(fault, NoRange):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            start //= 2 if isinstance(fault, WrongPart) else 1
            if start >= len(content):
                self._short(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self._body(content[start:], fault)

    def _body(self, content: bytes, fault: Fault | None) -> None:
        stop = fault.after if isinstance(fault, Cut | Hold) else len(content)
        for at in range(0, stop, PIECE):
            self.wfile.write(content[at : min(at + PIECE, stop)])
        self.wfile.flush()
        if isinstance(fault, Hold):
            fault.reached.set()
            fault.release.wait(60)
            self.wfile.write(content[stop:])
        elif isinstance(fault, Cut):
            self.close_connection = True

    def _page(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n")

    def _short(self, status: int, retry_after: str = "", code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if retry_after:
            self.send_header("Retry-After", retry_after)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
