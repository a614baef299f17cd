"""A bucket behind Supabase Storage's REST interface.

Its HTTP status says little: most errors are a 400 whose body holds the true status and a name.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.settings import Supabase
from talkhead.stores import MAX_READ, Link, Tick
from talkhead.stores.arriving import refuse_large, write
from talkhead.stores.keys import check_key

ATTEMPTS = 4
DELAY_S = 0.25  # before the second attempt; twice that before each further one
CHUNK = 2**20
HINTS = {
    "404": "the bucket does not exist: create it or correct bucket",
    "403": "use the service_role key, or add a row-level policy for this bucket",
    "401": "key is not valid for this project",
    "413": "raise the bucket's or the project's limit of file size",
    "415": "allow this MIME type in the bucket's settings",
    "InvalidKey": "Supabase takes ASCII keys only: choose a plain prefix and name",
}


class SupabaseStore:
    """Implements Store on a bucket of a Supabase project. Threads share its connections."""

    def __init__(self, settings: Supabase) -> None:
        self.settings = settings
        self.offers = frozenset({"signed", *(("public",) if settings.public else ())})
        self._base = settings.url.rstrip("/").removesuffix("/storage/v1") + "/storage/v1"
        self._lock = threading.Lock()
        self._clients: list[httpx.Client] = []

    @classmethod
    def open(cls, settings: Supabase) -> Self:
        """Return the store that the settings describe; connects to nothing."""
        return cls(settings)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            while self._clients:
                self._clients.pop().close()

    def put(
        self,
        file: Path,
        key: str,
        *,
        mime: str,
        sha256: str,  # noqa: ARG002 (the service keeps no digest)
        create: bool = False,
    ) -> bool:
        """Upload file in one request, and check the size that the service then holds."""
        headers = {
            "content-type": mime,
            "cache-control": "max-age=31536000",
            "x-upsert": "false" if create else "true",
        }
        path = self._path("object", key)
        with _failures(Code.STORE), file.open("rb") as body:

            def request() -> httpx.Request:
                body.seek(0)
                return self._client().build_request("POST", path, content=body, headers=headers)

            answer = self._send(request)
            with closing(answer):
                if create and _told(answer) == "409":
                    return False
                _refuse(answer, Code.STORE)
            size = self._size(key)
        if size != file.stat().st_size:
            raise TalkheadError(
                Code.STORE, f"the bucket holds something else under {key}", "send the job again"
            )
        return True

    def read(self, key: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        with _failures(Code.STORE), closing(self._ask("GET", self._path("object", key))) as answer:
            if _missing(answer):
                return None
            _refuse(answer, Code.STORE)
            refuse_large(_length(answer), MAX_READ)
            return answer.read()

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Download an object to a file."""
        path = self._path("object", key)
        with _failures(Code.DOWNLOAD), closing(self._ask("GET", path)) as answer:
            if _missing(answer):
                return False
            _refuse(answer, Code.DOWNLOAD)
            write(answer.iter_raw(CHUNK), into, _length(answer), limit, tick, None)
        return True

    def delete(self, key: str) -> None:
        """Delete an object; none there is fine."""
        path = self._path("object", key)
        with _failures(Code.STORE), closing(self._ask("DELETE", path)) as answer:
            if not _missing(answer):
                _refuse(answer, Code.STORE)

    def link(self, key: str, kind: str, expires_s: int) -> Link:
        """Return a signed or public URL; a signed one needs a call and an object that exists."""
        if kind not in self.offers:
            raise TalkheadError(Code.UNSUPPORTED, f"the store makes no {kind} URLs", "set public")
        if kind == "public":
            return Link(self._path("object/public", key))
        until = datetime.now(UTC) + timedelta(seconds=expires_s)
        path = self._path("object/sign", key)
        with (
            _failures(Code.STORE),
            closing(self._ask("POST", path, json={"expiresIn": expires_s})) as answer,
        ):
            _refuse(answer, Code.STORE)
            answer.read()
            return Link(f"{self._base}{answer.json()['signedURL']}", until)

    def _size(self, key: str) -> int | None:
        with closing(self._ask("HEAD", self._path("object", key))) as answer:
            return _length(answer) if answer.is_success else None

    def _path(self, kind: str, key: str) -> str:
        return f"{self._base}/{kind}/{quote(self.settings.bucket)}/{quote(check_key(key))}"

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._send(lambda: self._client().build_request(method, path, **more))

    def _send(self, request: Callable[[], httpx.Request]) -> httpx.Response:
        """Return the answer, unread; try again where no connection came about, on 429 and 5xx."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._client().send(request(), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if attempt == ATTEMPTS:
                    raise
            else:
                busy = answer.status_code == 429 or answer.status_code >= 500
                if not busy or attempt == ATTEMPTS:
                    return answer
                answer.close()
            time.sleep(DELAY_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 (jitter)
        raise AssertionError("the last attempt returns or raises")

    def _client(self) -> httpx.Client:
        with self._lock:
            if not self._clients:
                key = self.settings.key.get_secret_value()
                headers = {"apikey": key, "authorization": f"Bearer {key}"}
                headers["accept-encoding"] = "identity"  # lengths are those of the object
                timeout = httpx.Timeout(60, connect=5)
                self._clients.append(httpx.Client(headers=headers, timeout=timeout))
            return self._clients[0]


def _length(answer: httpx.Response) -> int:
    return int(answer.headers.get("content-length", 0))


def _body(answer: httpx.Response) -> dict[str, Any]:
    answer.read()
    try:
        found = answer.json()
    except ValueError:  # a proxy's page
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _told(answer: httpx.Response) -> str:
    """Return the true status of an answer: the body's, else HTTP's."""
    if answer.is_success:
        return str(answer.status_code)
    return str(_body(answer).get("statusCode") or answer.status_code)


def _missing(answer: httpx.Response) -> bool:
    if answer.is_success or _told(answer) != "404":
        return False
    body = _body(answer)  # a bucket that is not there is no missing object
    return "bucket" not in f"{body.get('error')} {body.get('message')} {body.get('code')}".lower()


def _refuse(answer: httpx.Response, code: Code) -> None:
    if answer.is_success:
        return
    status, name = _told(answer), str(_body(answer).get("error") or "refused")
    hint = HINTS.get(name) or HINTS.get(status)
    raise TalkheadError(
        code,
        f"Supabase Storage: {status} {name[:80]}",
        hint or "the store may be back later: send the job again",
    )


@contextmanager
def _failures(code: Code) -> Iterator[None]:
    """Turn what httpx raises into our error; its texts hold URLs and stay out of the message."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TalkheadError(
            code,
            f"Supabase Storage: {type(error).__name__}",
            "check url and the network; the store may be back later",
        ) from error
