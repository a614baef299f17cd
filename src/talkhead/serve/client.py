"""A client of RunPod's paths and of our server's own: one request in, plain JSON out, by httpx.

`base` is a server (`http://127.0.0.1:8000`) or an endpoint (`https://api.runpod.ai/v2/ID`). What a
plain endpoint lacks (uploads, the list of jobs, partial videos) is E_UNSUPPORTED there.
"""

import base64
import json
import secrets
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urljoin

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.serve import replies

Json = dict[str, Any]

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
INLINE_BYTES = 7_000_000  # base64 of it stays below the 10 MB that RunPod takes
CONNECT_S, READ_S = 5.0, 30.0
SYNC_S = 120.0  # longer than /runsync waits
PATIENCE_S = 20.0  # of waiting where the server says 429
POLL_S, POLL_MOST_S = 0.5, 5.0  # between two looks at /status; each wait is half longer


class Client:
    """One server or endpoint. Every method raises TalkheadError; close it, or use it in `with`.

    `patience_s` bounds the waiting for a server that says 429, over all tries of one call.
    """

    def __init__(
        self,
        base: str,
        token: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base = base.rstrip("/")
        self._patience_s = patience_s
        self._http = httpx.Client(
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            verify=_trust(),
            transport=transport,
        )
        self._own = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        """Use the client in a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._http.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, payload: Mapping[str, Any], **extras: Any) -> Json:
        """Queue a request; return `id` and `status`. Extras are RunPod's own, such as policy."""
        return self._json("POST", "/run", json={"input": payload, **extras})

    def put(self, job_id: str, payload: Mapping[str, Any], **extras: Any) -> Json:
        """Queue a request under an id of the caller's: sent again, it is the same job."""
        path = f"/run/{quote(job_id, safe='')}"
        return self._json("PUT", path, json={"input": payload, **extras})

    def runsync(self, payload: Mapping[str, Any]) -> Json:
        """Run a request and wait for its end; return the result's JSON, or raise its error."""
        body = self._json("POST", "/runsync", json={"input": payload}, timeout=SYNC_S)
        if body.get("status") not in FINAL and "id" in body:
            body = self.wait(body["id"])
        return replies.result(body)

    def wait(self, job_id: str) -> Json:
        """Return the status body of a job that has ended."""
        return deque(self._polled(job_id), maxlen=1).pop()

    def status(self, job_id: str) -> Json:
        """Return the status body: id, status, output or error."""
        return self._json("GET", f"/status/{quote(job_id, safe='')}")

    def events(self, job_id: str) -> Iterator[Json]:
        """Yield status bodies as a job goes on; the last one has ended.

        Server-sent events where the server has them, otherwise looks at /status.
        """
        path = f"/stream/{quote(job_id, safe='')}"
        with self._streaming("GET", path, {"Accept": "text/event-stream"}) as reply:
            if reply.headers.get("content-type", "").startswith("text/event-stream"):
                ended = False
                for name, data in _sent_events(reply):
                    ended = name == "end"
                    yield _in_progress(job_id, data) if name == "progress" else data
                if ended:
                    return
        yield from self._polled(job_id)

    def cancel(self, job_id: str) -> Json:
        """Stop a job."""
        return self._json("POST", f"/cancel/{quote(job_id, safe='')}")

    def retry(self, job_id: str) -> Json:
        """Queue a job again that has failed."""
        return self._json("POST", f"/retry/{quote(job_id, safe='')}")

    def health(self) -> Json:
        """Return RunPod's counts of jobs and workers."""
        return self._json("GET", "/health")

    def upload(self, file: Path, name: str | None = None) -> str:
        """Send a file; return the reference that a request names it by.

        A plain endpoint has no uploads: there the reference is the file itself, up to 7 MB.
        """
        size = _size(file)
        path = f"/uploads/{quote(name or file.name, safe='')}"
        with file.open("rb") as source:
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            reply = self._send("PUT", path, content=source, headers=headers, timeout=SYNC_S)
        if reply.status_code not in (404, 405):
            return str(_object(_checked(reply))["reference"])
        if size > INLINE_BYTES:
            raise TalkheadError(
                Code.UNSUPPORTED,
                f"{name or file.name} has {size / 1e6:.1f} MB, and this endpoint takes no uploads",
                f"at most {INLINE_BYTES / 1e6:.0f} MB travel inside a request: give an https link, "
                "a smaller file, or use a talkhead server",
            )
        coded = base64.b64encode(file.read_bytes()).decode()
        return f"data:application/octet-stream;base64,{coded}"

    def capabilities(self) -> Json:
        """Return what the server can do, `ours` telling a talkhead server from a plain endpoint."""
        reply = self._send("GET", "/capabilities")
        if reply.status_code not in (404, 405):
            return {**_object(_checked(reply)), "ours": True}
        found = self.runsync({"action": "capabilities"})
        return {**(found.get("ability") or {}), "version": found.get("version"), "ours": False}

    def jobs(self, limit: int = 30, before: int | None = None, status: str | None = None) -> Json:
        """Return `jobs`, newest first, and `next`: the `before` of those that follow, or None."""
        asked = {"limit": limit, "before": before, "status": status}
        given = {name: value for name, value in asked.items() if value is not None}
        return self._json("GET", "/jobs", params=given)

    def job(self, job_id: str) -> Json:
        """Return one job: its entry, what was asked and how it ended."""
        return self._json("GET", f"/jobs/{quote(job_id, safe='')}")

    def forget(self, job_id: str) -> None:
        """Delete a job that has ended, with its files."""
        _checked(self._send("DELETE", f"/jobs/{quote(job_id, safe='')}"))

    def partial(self, job_id: str, target: Path) -> bool:
        """Save the video as far as it is made; False where there is none yet."""
        try:
            self.download(f"{self.base}/partial/{quote(job_id, safe='')}", target)
        except TalkheadError as error:
            if error.code is Code.INPUT:  # 404: nothing is there yet
                return False
            raise
        return True

    def url(self, link: str) -> str:
        """Return a result's link as an absolute URL."""
        return urljoin(f"{self.base}/", link)

    def download(self, link: str, target: Path) -> Path:
        """Save what a result's link leads to; the file appears whole or not at all."""
        # its own name: a page may be asked for the same file twice at once
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        try:
            with self._streaming("GET", self.url(link), {}) as reply:
                if reply.is_error:
                    reply.read()
                _checked(reply)
                with part.open("wb") as out:
                    for block in reply.iter_bytes(1 << 16):
                        out.write(block)
            part.replace(target)
        except OSError as error:
            raise TalkheadError(
                Code.CAPACITY, f"cannot save {target.name}: {error.strerror}", "free some disk"
            ) from error
        finally:
            part.unlink(missing_ok=True)
        return target

    def _polled(self, job_id: str) -> Iterator[Json]:
        pause, last = POLL_S, None
        while True:
            body = self.status(job_id)
            if body != last:
                pause = POLL_S
                yield body
            if body.get("status") in FINAL:
                return
            last = body
            time.sleep(pause)
            pause = min(POLL_MOST_S, pause * 1.5)

    def _json(self, method: str, path: str, **more: Any) -> Json:
        return _object(_checked(self._send(method, path, **more)))

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Return the answer, once the server no longer says 429 or patience has ended."""
        deadline = time.monotonic() + self._patience_s
        headers = {**self._own, **more.pop("headers", {})}
        while True:
            with replies.network(self.base):
                reply = self._http.request(method, self.base + path, headers=headers, **more)
            pause = replies.retry_after(reply)
            if reply.status_code != 429 or time.monotonic() + pause > deadline:
                return reply
            if hasattr(more.get("content"), "seek"):
                more["content"].seek(0)
            time.sleep(pause)

    def _streaming(self, method: str, path: str, headers: Mapping[str, str]) -> "_Stream":
        url = path if "://" in path else self.base + path
        # a store's signed link is another host: our token is none of its business
        own = self._own if _origin(url) == _origin(self.base) else {}
        request = self._http.build_request(method, url, headers={**headers, **own})
        return _Stream(self._http, request, self.base)


class _Stream:
    """An answer that is read while it comes, its network errors named."""

    def __init__(self, http: httpx.Client, request: httpx.Request, base: str) -> None:
        self._http, self._request, self._base = http, request, base
        self._reply: httpx.Response | None = None

    def __enter__(self) -> httpx.Response:
        with replies.network(self._base):
            self._reply = self._http.send(self._request, stream=True, follow_redirects=True)
        return self._reply

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if self._reply is not None:
            self._reply.close()
        if isinstance(error, httpx.TransportError):
            raise replies.unreachable(self._base, error) from error


@cache
def _trust() -> ssl.SSLContext:
    """Return the certificates to trust; reading them takes longer than a request."""
    return httpx.create_ssl_context()


def _sent_events(reply: httpx.Response) -> Iterator[tuple[str, Json]]:
    """Yield the name and data of each server-sent event; pings and comments are left out."""
    name, data = "message", ""
    for line in reply.iter_lines():
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data += value.strip()
        elif not line and data:
            if name in ("progress", "end"):
                yield name, json.loads(data)
            name, data = "message", ""


def _in_progress(job_id: str, progress: Json) -> Json:
    return {"id": job_id, "status": "IN_PROGRESS", "output": progress}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise TalkheadError(
            Code.INPUT, f"cannot read {file.name}: {error.strerror}", "choose the file again"
        ) from error


def _origin(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_success:
        return reply
    raise replies.refusal(reply)


def _object(reply: httpx.Response) -> Json:
    return replies.json_object(reply)
