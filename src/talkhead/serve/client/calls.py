"""Every call that a client can make, as steps: what is sent, when again, and what it means."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256 as new_digest
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.serve import replies
from talkhead.serve.client.steps import (
    Close,
    Json,
    Open,
    Patience,
    Pause,
    Read,
    Send,
    Steps,
    Stream,
    checked,
    exchange,
    origin,
    packed,
    size_of,
)
from talkhead.serve.client.watching import FINAL, Watch

RUN_BYTES = 10 * 10**6  # of a whole request to /run, as RunPod has it
INLINE_BYTES = 7_000_000  # base64 of it stays below that
SYNC_S = 120.0  # longer than /runsync waits
PLAIN = (404, 405)  # what an endpoint without our own paths answers to them
RUNPOD = "https://api.runpod.ai"
JSON = {"Content-Type": "application/json"}


class Calls:
    """The calls to one server or endpoint.

    `ours` tells a talkhead server from a plain endpoint, None where that is not known yet.
    """

    def __init__(self, base: str, token: str | None, patience_s: float, *, repeats: bool) -> None:
        self.base = base.rstrip("/")
        self.ours: bool | None = False if self.base.startswith(f"{RUNPOD}/") else None
        self._patience_s = patience_s
        self._repeats = repeats
        self._own = {"Authorization": f"Bearer {token}"} if token else {}

    def own(self, send: Send) -> Mapping[str, str]:
        """Return the headers that show who calls, and none for a host that is not the server."""
        return self._own if origin(send.url) == origin(self.base) else {}

    def shown(self, url: str) -> str:
        """Return how messages name whoever is at a URL: a signed link is for nobody to see."""
        return self.base if url.startswith(self.base) else origin(url)

    def run(self, payload: Mapping[str, Any], extras: Mapping[str, Any]) -> Steps[Json]:
        """POST /run; sent again after a lost answer only where a repeat is answered once."""
        content = packed({"input": payload, **extras})
        again = bool(payload.get("idempotency_key"))
        return (yield from self._json("POST", "/run", content=content, headers=JSON, again=again))

    def put(
        self, job_id: str, payload: Mapping[str, Any], extras: Mapping[str, Any]
    ) -> Steps[Json]:
        """PUT /run/ID: sent again, it is the same job."""
        content = packed({"input": payload, **extras})
        path = f"/run/{_part(job_id)}"
        return (yield from self._json("PUT", path, content=content, headers=JSON, again=True))

    def runsync(self, payload: Mapping[str, Any]) -> Steps[Json]:
        """POST /runsync, then wait; the result's JSON."""
        content = packed({"input": payload})
        body = yield from self._json(
            "POST", "/runsync", content=content, headers=JSON, read_s=SYNC_S
        )
        if body.get("status") not in FINAL and "id" in body:
            body = yield from self.wait(str(body["id"]), None)
        return replies.result(body)

    def wait(self, job_id: str, patience_s: float | None) -> Steps[Json]:
        """Look at /status until the job has ended."""
        return (yield from Watch(job_id, lambda: self.status(job_id, patience_s)).end())

    def watch(self, job_id: str, patience_s: float | None) -> Watch:
        """Return a watch over a job, by events where the server may have them."""
        look, stream = (lambda: self.status(job_id, patience_s)), None
        if self.ours is not False:
            headers = {"Accept": "text/event-stream"}
            send = Send("GET", f"{self.base}/stream/{_part(job_id)}", headers=headers)
            stream = Open(send, lines=True)
        return Watch(job_id, look, stream)

    def status(self, job_id: str, patience_s: float | None = None) -> Steps[Json]:
        """GET /status/ID."""
        return (yield from self._json("GET", f"/status/{_part(job_id)}", patience_s=patience_s))

    def cancel(self, job_id: str) -> Steps[Json]:
        """POST /cancel/ID; a job that has ended stays as it is."""
        return (yield from self._json("POST", f"/cancel/{_part(job_id)}", again=True))

    def retry(self, job_id: str) -> Steps[Json]:
        """POST /retry/ID."""
        return (yield from self._json("POST", f"/retry/{_part(job_id)}"))

    def health(self) -> Steps[Json]:
        """GET /health."""
        return (yield from self._json("GET", "/health"))

    def is_ours(self) -> Steps[bool]:
        """Return whether this is a talkhead server, asking once: only it has a history."""
        if self.ours is None:
            reply = yield from self._send("GET", "/jobs", params={"limit": 1})
            self._known(reply)
        return bool(self.ours)

    def capabilities(self) -> Steps[Json]:
        """GET /capabilities, or the action of that name on a plain endpoint."""
        reply = yield from self._send("GET", "/capabilities")
        if self._known(reply):
            return {**replies.json_object(reply), "ours": True}
        found = yield from self.runsync({"action": "capabilities"})
        return {**(found.get("ability") or {}), "version": found.get("version"), "ours": False}

    def jobs(self, limit: int, before: int | None, status: str | None) -> Steps[Json]:
        """GET /jobs."""
        asked = {"limit": limit, "before": before, "status": status}
        given = {name: value for name, value in asked.items() if value is not None}
        return (yield from self._json("GET", "/jobs", params=given))

    def job(self, job_id: str) -> Steps[Json]:
        """GET /jobs/ID."""
        return (yield from self._json("GET", f"/jobs/{_part(job_id)}"))

    def forget(self, job_id: str) -> Steps[None]:
        """DELETE /jobs/ID."""
        checked((yield from self._send("DELETE", f"/jobs/{_part(job_id)}")))

    def upload(self, file: Path, name: str | None) -> Steps[str]:
        """PUT /uploads/NAME; at a plain endpoint the file itself, or by the action `uploads`."""
        size, shown = size_of(file), name or file.name
        # a large file is not sent to where nobody takes it
        ours = self.ours if size <= INLINE_BYTES else (yield from self.is_ours())
        if ours is not False:
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            reply = yield from self._send(
                "PUT", f"/uploads/{_part(shown)}",
                file=file, headers=headers, read_s=SYNC_S, again=True,
            )  # fmt: skip
            if self._known(reply):
                return str(replies.json_object(reply)["reference"])
        if size <= INLINE_BYTES:
            coded = base64.b64encode(file.read_bytes()).decode()
            return f"data:application/octet-stream;base64,{coded}"
        try:
            (reference,) = yield from self.lend([(file, shown)])
        except TalkheadError as error:
            if error.retryable:
                raise
            raise TalkheadError(
                Code.UNSUPPORTED,
                f"{shown} has {size / 1e6:.1f} MB, and this endpoint takes no uploads",
                f"at most {INLINE_BYTES / 1e6:.0f} MB travel inside a request: give an https link, "
                "a smaller file, or use a talkhead server",
            ) from error
        return reference

    def lend(self, files: Sequence[tuple[Path, str]]) -> Steps[list[str]]:
        """Put files where the endpoint's action `uploads` says; return their references."""
        asked = [{"name": name, "bytes": size_of(file)} for file, name in files]
        found = yield from self.runsync({"action": "uploads", "files": asked})
        places = found.get("uploads")
        if not isinstance(places, list) or len(places) != len(files):
            raise TalkheadError(
                Code.UNSUPPORTED, "the endpoint does not say where to put files", "update it"
            )
        for (file, _), place in zip(files, places, strict=True):
            send = _to_place(file, place, self.base)
            checked((yield from exchange(send, self._patience())))
        return [str(place["reference"]) for place in places]

    def partial(self, job_id: str, target: Path) -> Steps[bool]:
        """GET /partial/ID into a file; False where nothing is made yet."""
        try:
            yield from self.download(f"{self.base}/partial/{_part(job_id)}", target)
        except TalkheadError as error:
            if error.code is Code.INPUT:  # 404: nothing is there yet
                return False
            raise
        return True

    def url(self, link: str) -> str:
        """Return a result's link as an absolute URL."""
        return urljoin(f"{self.base}/", link)

    def download(
        self, link: str, target: Path, sha256: str | None = None, size: int | None = None
    ) -> Steps[Path]:
        """Save what a link leads to, beginning again where it breaks off."""
        # its own name: a page may be asked for the same file twice at once
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        patience = self._patience()
        try:
            while True:
                try:
                    yield from self._written(link, part, sha256, size)
                    break
                except TalkheadError as error:
                    worth = error.retryable and error.code is Code.CAPACITY and self._repeats
                    pause = patience.pause() if worth else None
                    if pause is None:
                        raise
                    yield Pause(pause, error)
            part.replace(target)
        except OSError as error:
            raise TalkheadError(
                Code.CAPACITY,
                f"cannot save {target.name}: {error.strerror}",
                "free some disk",
                retryable=False,
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return target

    def _written(self, link: str, part: Path, sha256: str | None, size: int | None) -> Steps[None]:
        stream: Stream = yield Open(Send("GET", self.url(link)))
        checked(stream.reply)
        seen, written = new_digest(), 0
        with part.open("wb") as out:
            while (block := (yield Read(stream))) is not None:
                written += len(block)
                if size is not None and written > size:
                    break
                seen.update(block)
                out.write(block)
        yield Close(stream)
        wrong_size = size is not None and written != size
        if wrong_size or (sha256 is not None and seen.hexdigest() != sha256):
            raise TalkheadError(
                Code.DOWNLOAD,
                "the file that came is not the one in the result: "
                + ("its size differs" if wrong_size else "its digest differs"),
                "fetch it again; if that does not help, the store has lost it",
            )

    def _known(self, reply: httpx.Response) -> bool:
        """Return whether a path of our own was answered, or raise what else it was."""
        self.ours = reply.status_code not in PLAIN
        return self.ours and checked(reply).is_success

    def _json(self, method: str, path: str, **more: Any) -> Steps[Json]:
        reply = yield from self._send(method, path, **more)
        return replies.json_object(checked(reply))

    def _send(
        self, method: str, path: str, *, patience_s: float | None = None, **more: Any
    ) -> Steps[httpx.Response]:
        again = more.pop("again", method == "GET") and self._repeats
        send = Send(method, self.base + path, again=again, anew=self._repeats, **more)
        return (yield from exchange(send, self._patience(patience_s)))

    def _patience(self, seconds: float | None = None) -> Patience:
        return Patience(self._patience_s if seconds is None else seconds)


def _to_place(file: Path, place: Any, base: str) -> Send:
    """Return the exchange that puts a file where an endpoint said, if it may go there."""
    held = place if isinstance(place, dict) else {}
    url, headers = str(held.get("url") or ""), held.get("headers") or {}
    plain = base.startswith("http:") and url.startswith("http:")  # of one's own network
    if not (url.startswith("https:") or plain) or not isinstance(headers, dict):
        raise TalkheadError(
            Code.UNSUPPORTED, "the endpoint names no https place for files", "update it"
        )
    told = {str(name): str(value) for name, value in headers.items()}
    told["Content-Length"] = str(size_of(file))
    return Send("PUT", url, file=file, headers=told, read_s=SYNC_S, again=True)


def _part(name: str) -> str:
    return quote(name, safe="")
