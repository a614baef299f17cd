"""What the page talks to, and how files get there and back."""

import base64
import hashlib
import mimetypes
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from talkhead.errors import Code, TalkheadError
from talkhead.media.sniff import sniff

if TYPE_CHECKING:
    from talkhead.serve.client import Client

Json = dict[str, Any]

GIVEN = {"volume": "uploads", "library": "library"}  # references, and where a server gives the file
UPLOADED_S = 1800.0  # that a reference is used again without sending the file once more
KEPT_S = 86_400.0  # that downloaded files stay
FIRST_S = 6.0  # of patience with a server that says 429: a person is waiting


@dataclass(frozen=True, slots=True)
class Site:
    """What one page serves.

    `base` is the server or endpoint that it talks to, `token` the key it shows there. `same_origin`
    says that the browser reaches that server's own paths at the page's address; otherwise results
    are fetched into `folder` first. `choose` lets the user name another server and key.
    """

    base: str
    token: str | None = None
    same_origin: bool = False
    choose: bool = False
    folder: Path = field(default_factory=Path)
    uploaded: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    def open(self, place: Mapping[str, str] | None) -> "Client":
        """Return a client of the user's own server and key, where set, or of the page's."""
        chosen = place if self.choose and place else {}
        base = chosen.get("base") or self.base
        own = self.token if base == self.base else None  # no business of another server
        return _client(base, chosen.get("key") or own)

    def refer(self, client: "Client", file: Mapping[str, Any]) -> str:
        """Return the reference of a file that was dropped into the page, sending it once."""
        path = Path(str(file["path"]))
        key = client.base, _digest_of(path)
        sent, reference = self.uploaded.get(key, (0.0, ""))
        fresh = reference.startswith("library:") or time.monotonic() - sent < UPLOADED_S
        if not reference or not fresh:
            reference = client.upload(path, str(file.get("orig_name") or path.name))
            if len(reference) < 500:  # a data URI holds the file itself
                self.uploaded[key] = time.monotonic(), reference
        return reference

    def brought(self, client: "Client", reference: str) -> Path | None:
        """Return the file that a request names, in the page's own folder, as a copy.

        None where it cannot be had back: it is gone, or it is not the server's to give.
        """
        scheme, _, name = reference.partition(":")
        short = hashlib.sha256(reference.encode()).hexdigest()[:8]
        if scheme == "data":
            return _decoded(name, self._room() / short)
        if scheme not in GIVEN:
            return None
        target = self._room() / f"{short}-{PurePosixPath(name).name}"
        try:
            client.download(f"{client.base}/{GIVEN[scheme]}/{quote(name)}", target)
        except TalkheadError as error:
            if error.code is not Code.INPUT:  # 404, or a name that no server has
                raise
            return None
        self.uploaded[client.base, _digest_of(target)] = time.monotonic(), reference
        return target

    def link(self, client: "Client", made: Mapping[str, Any]) -> str:
        """Return what a browser finds a result's file under."""
        if made.get("url") and self.same_origin:
            return str(made["url"])
        return local(self.fetched(client, made))

    def fetched(self, client: "Client", made: Mapping[str, Any]) -> Path:
        """Return a result's file in the page's own folder."""
        name = f"{made.get('sha256') or 'file'}{mimetypes.guess_extension(made['mime']) or ''}"
        target = self._room() / name
        if not target.exists():
            if made.get("data"):
                target.write_bytes(base64.b64decode(made["data"]))
            elif made.get("url"):
                client.download(str(made["url"]), target)
            else:
                raise TalkheadError(
                    Code.UNSUPPORTED,
                    "The result is in the server's store, and it gives no link to it",
                    f"Fetch it there: {made.get('key')}",
                )
        return target

    def partial(self, client: "Client", job_id: str, windows: int) -> str:
        """Return a link to the video as far as it is made; empty where there is none yet."""
        if self.same_origin:
            return f"/partial/{quote(job_id, safe='')}?windows={windows}"
        target = self._room() / f"{job_id[:64]}-{windows}.mp4"
        return local(target) if client.partial(job_id, target) else ""

    def _room(self) -> Path:
        """Return the folder of fetched files, the old ones gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.iterdir():
            if file.is_file() and time.time() - file.stat().st_mtime > KEPT_S:
                file.unlink(missing_ok=True)
        return self.folder


def _client(base: str, token: str | None) -> "Client":
    from talkhead.serve.client import Client  # noqa: PLC0415 (httpx: a server listens first)

    # what fails is told at once, with a button that tries again
    return Client(base, token, patience_s=FIRST_S, repeats=False)


def _decoded(rest: str, stem: Path) -> Path | None:
    """Return the file of a data: URI; None of one that was cut."""
    try:
        data = base64.b64decode(rest.partition(",")[2], validate=True)
    except ValueError:
        return None
    stem.write_bytes(data)
    try:
        kind = sniff(stem)  # such a URI seldom says what it is
    except TalkheadError:
        stem.unlink()
        return None
    return stem.rename(stem.with_suffix(mimetypes.guess_extension(kind.mime) or ""))


def _digest_of(file: Path) -> str:
    """Return what a file is known by: dropped again it is the same, changed it is another."""
    try:
        about = file.stat()
    except OSError:  # who sends it says so
        return str(file)
    return _digest(str(file), about.st_size, about.st_mtime_ns)


@lru_cache(512)
def _digest(path: str, _size: int, _changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local(file: Path | str) -> str:
    """Return the address at which the page itself serves a file of its folder or its uploads."""
    return f"/gradio_api/file={quote(str(file))}"
