"""A bucket behind Supabase Storage's REST interface.

Its HTTP status says little: most errors are a 400 whose body holds the true status and a name.
A proxy and a CA of one's own come from the usual variables (HTTPS_PROXY, SSL_CERT_FILE).
"""

import base64
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import printable
from talkhead.settings import Supabase
from talkhead.stores import MAX_READ, Link, Slot, Tick, gone
from talkhead.stores.arriving import refuse_large, write
from talkhead.stores.keys import check_key
from talkhead.stores.mimes import kept

ATTEMPTS = 4
DELAY_S = 0.25  # before the second attempt; twice that before each further one
CHUNK = 2**20
UPLOAD_S = 2 * 3600  # that a signed upload works, by the service's own rule
AT_ONCE = 500  # keys that one call signs
LARGEST_TALE = 2**16  # bytes that an error or a small answer may have
DIGEST = "talkhead-sha256"  # in an object's metadata
_TAKEN = re.compile(r"[\w/!.*'() &$@=;:+,?-]+", re.ASCII)  # what the service allows in a key
HINTS = {
    400: "check TALKHEAD_STORE__URL, __BUCKET and __KEY",
    401: "TALKHEAD_STORE__KEY is not a key of this project",
    403: "TALKHEAD_STORE__KEY is refused: use the service_role key of this very project",
    404: "check TALKHEAD_STORE__URL: the storage interface is not there",
    413: "raise the file size limit of the bucket, and the project's own above it",
    415: "allow this MIME type in the bucket's settings, or any type",
}
PRIVATE = "make the bucket public, or unset TALKHEAD_STORE__PUBLIC"
BUCKET = "create the bucket of TALKHEAD_STORE__BUCKET, or correct its name"
ROW_LEVEL = (
    "TALKHEAD_STORE__KEY may not do this: use the service_role key, or add row-level policies "
    "that let it select, insert, update and delete in this bucket"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service says went wrong: the true status, its name, and its sentence."""

    status: int
    name: str = ""
    sentence: str = ""

    @property
    def busy(self) -> bool:
        """Return whether asking again may help."""
        return self.status == 429 or self.status >= 500

    @property
    def no_bucket(self) -> bool:
        """Return whether it is the bucket that is not there, rather than an object."""
        told = f"{self.name} {self.sentence}".lower().replace(" ", "")
        return self.status == 404 and ("nosuchbucket" in told or "bucketnotfound" in told)

    def error(self, code: Code) -> TalkheadError:
        """Return our error. The service's sentence may hold keys, and stays out of it."""
        if self.busy:
            hint = "the store may be back later: send the job again"
        elif self.no_bucket:
            hint = BUCKET
        elif "row-level security" in self.sentence:
            hint = ROW_LEVEL
        else:
            hint = HINTS.get(self.status, HINTS[400])
        name = printable(self.name)[:80] or "refused"
        return TalkheadError(code, f"Supabase Storage: {self.status} {name}", hint)


class SupabaseStore:
    """Implements Store on a bucket of a Supabase project. Threads share its connections."""

    def __init__(self, settings: Supabase) -> None:
        self.settings = settings
        self.offers = frozenset({"signed", *(("public",) if settings.public else ())})
        self.serves = True
        self._base = settings.url.rstrip("/").removesuffix("/storage/v1") + "/storage/v1"
        self._lock = threading.Lock()
        self._clients: list[httpx.Client] = []
        self._seen_public = threading.Event()

    @classmethod
    def open(cls, settings: Supabase) -> Self:
        """Return the store that the settings describe; connects to nothing."""
        return cls(settings)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            while self._clients:
                self._clients.pop().close()

    def put(self, file: Path, key: str, *, mime: str, sha256: str, create: bool = False) -> bool:
        """Upload file in one request, and check what the service then holds.

        With `create`, an own attempt whose answer was lost counts as created where the service
        keeps the digest, else as somebody else's.
        """
        path, tries = self._path("object", key), 0
        headers = {
            "content-type": mime,
            "cache-control": _cache(mime),
            "x-upsert": "false" if create else "true",
            "x-metadata": base64.b64encode(json.dumps({DIGEST: sha256}).encode()).decode(),
        }

        with file.open("rb") as body:

            def request() -> httpx.Request:
                nonlocal tries
                tries += 1
                body.seek(0)
                return self._client().build_request("POST", path, content=body, headers=headers)

            with self._sent(request, Code.STORE, _there if create else _never) as answer:
                stored = answer is not None
        if not stored and tries == 1:
            return False
        held = self._held(key, Code.STORE)
        if held == (file.stat().st_size, sha256):
            return True
        if not stored:
            return False
        if held is None or held[0] != file.stat().st_size or held[1] is not None:
            raise TalkheadError(
                Code.STORE, f"the bucket holds something else under {key}", "send the job again"
            )
        return True

    def read(self, key: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        with self._asked("GET", self._path("object/authenticated", key), Code.STORE) as answer:
            return None if answer is None else _content(answer, MAX_READ)

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has, or None where there is none."""
        held = self._held(key, Code.STORE)
        return None if held is None else held[0]

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Download an object; its digest is checked where this package has put it there."""
        held = self._held(key, Code.DOWNLOAD)
        if held is None:
            return False
        size, sha256 = held
        with self._asked("GET", self._path("object/authenticated", key), Code.DOWNLOAD) as answer:
            if answer is None:
                return False
            write(answer.iter_bytes(CHUNK), into, size, limit, tick, sha256)
        return True

    def delete(self, key: str) -> None:
        """Delete an object; none there is fine."""
        with self._asked("DELETE", self._path("object", key), Code.STORE):
            pass

    def link(self, key: str, kind: str, expires_s: int) -> Link:
        """Return a signed or public URL of an object that exists.

        The first public one is tried, since those of a private bucket lead nowhere.
        """
        if kind not in self.offers:
            raise TalkheadError(
                Code.UNSUPPORTED,
                f"the store makes no {kind} URLs",
                "make the bucket public and set TALKHEAD_STORE__PUBLIC=true",
            )
        if kind == "public":
            return Link(self._public(key))
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_s)
        path = self._path("object/sign", key)
        with self._asked("POST", path, Code.STORE, json={"expiresIn": expires_s}) as answer:
            if answer is None:
                raise gone(key)
            return Link(self._signed(answer, "signedURL"), until)

    def slot(self, key: str, size: int, expires_s: int) -> Slot:  # noqa: ARG002 (see below)
        """Return a signed URL for a PUT.

        The service signs neither a size nor a time of ours: the bucket's own limit of sizes
        holds, and the URL works for two hours, once.
        """
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=UPLOAD_S)
        path = self._path("object/upload/sign", key)
        with self._asked("POST", path, Code.STORE, json={}) as answer:
            url = self._signed(answer, "url")
        return Slot(url, {"Content-Type": "application/octet-stream"}, until)

    def _signed(self, answer: httpx.Response | None, name: str) -> str:
        signed = None if answer is None else _object(answer).get(name)
        if not isinstance(signed, str) or not signed.startswith("/"):
            raise TalkheadError(Code.STORE, "Supabase Storage: no signed URL came", HINTS[404])
        return f"{self._base}{signed}"

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return a URL for each key, of objects that exist; many are signed by one call."""
        if kind != "signed":
            return [self.link(key, kind, expires_s) for key in keys]
        found: list[Link] = []
        for begin in range(0, len(keys), AT_ONCE):
            found += self._signed_all(keys[begin : begin + AT_ONCE], expires_s)
        return found

    def _signed_all(self, keys: Sequence[str], expires_s: int) -> list[Link]:
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_s)
        path = self._path("object/sign", keys[0]).removesuffix(f"/{quote(keys[0])}")
        asked = {"expiresIn": expires_s, "paths": list(keys)}
        with self._asked("POST", path, Code.STORE, json=asked) as answer:
            told = {} if answer is None else _signatures(answer)
        missing = next((key for key in keys if key not in told), None)
        if missing is not None:
            raise gone(missing)
        return [Link(f"{self._base}{told[key]}", until) for key in keys]

    def _public(self, key: str) -> str:
        path = self._path("object/public", key)
        if not self._seen_public.is_set():
            request = self._request("GET", path, headers={"range": "bytes=0-0"})
            with self._sent(request, Code.STORE, _private) as found:
                if found is None:
                    raise TalkheadError(
                        Code.STORE, "Supabase Storage: a public link does not work", PRIVATE
                    )
            self._seen_public.set()
        return path

    def _held(self, key: str, code: Code) -> tuple[int, str | None] | None:
        """Return an object's size and the digest that was put beside it, or None without one."""
        with self._asked("GET", self._path("object/info/authenticated", key), code) as answer:
            if answer is None:
                return None
            told = _object(answer)
        size, beside = told.get("size"), told.get("metadata")
        if not isinstance(size, int):
            raise TalkheadError(code, "Supabase Storage: it tells no size", HINTS[404])
        sha256 = beside.get(DIGEST) if isinstance(beside, dict) else None
        return size, sha256

    def _path(self, kind: str, key: str) -> str:
        if not _TAKEN.fullmatch(check_key(key)):
            raise TalkheadError(
                Code.INPUT,
                f"{key[:80]!r} is not a key that Supabase takes",
                "use ASCII letters, digits and . _ - / in prefix and name",
            )
        return f"{self._base}/{kind}/{quote(self.settings.bucket, safe='')}/{quote(key)}"

    def _request(self, method: str, path: str, **more: Any) -> Callable[[], httpx.Request]:
        return lambda: self._client().build_request(method, path, **more)

    def _asked(
        self, method: str, path: str, code: Code, **more: Any
    ) -> AbstractContextManager[httpx.Response | None]:
        """Return what a call answers, or None inside where there is no such object."""
        return self._sent(self._request(method, path, **more), code, _absent)

    @contextmanager
    def _sent(
        self,
        request: Callable[[], httpx.Request],
        code: Code,
        expected: Callable[[Refusal], bool],
    ) -> Iterator[httpx.Response | None]:
        """Give the answer, unread, or None for a refusal that the caller expects.

        Raises `code` for any other. What httpx says may hold URLs, and stays out of the message.
        """
        try:
            answer, refusal = self._settled(request)
            with closing(answer):
                if refusal is None:
                    yield answer
                elif expected(refusal):
                    yield None
                else:
                    raise refusal.error(code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TalkheadError(
                code,
                f"Supabase Storage: {type(error).__name__}",
                "check TALKHEAD_STORE__URL and the network; the store may be back later",
            ) from error

    def _settled(
        self, request: Callable[[], httpx.Request]
    ) -> tuple[httpx.Response, Refusal | None]:
        """Return the last answer, trying again where no connection came about or it is busy."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._client().send(request(), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if attempt == ATTEMPTS:
                    raise
            else:
                refusal = _refusal(answer)
                if refusal is None or not refusal.busy or attempt == ATTEMPTS:
                    return answer, refusal
            time.sleep(DELAY_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 (jitter)
        raise AssertionError("the last attempt returns or raises")

    def _client(self) -> httpx.Client:
        with self._lock:
            if not self._clients:
                self._clients.append(_connected(self.settings.key.get_secret_value().strip()))
            return self._clients[0]


def _absent(refusal: Refusal) -> bool:
    return refusal.status == 404 and not refusal.no_bucket


def _private(refusal: Refusal) -> bool:
    return refusal.status in {400, 401, 403, 404}


def _there(refusal: Refusal) -> bool:
    return refusal.status == 409


def _never(refusal: Refusal) -> bool:  # noqa: ARG001 (any refusal is an error)
    return False


def _connected(key: str) -> httpx.Client:
    if not (key.isascii() and key.isprintable() and key):
        raise TalkheadError(
            Code.INPUT, "the store's key holds characters of no key", "set TALKHEAD_STORE__KEY"
        )
    headers = {"apikey": key, "authorization": f"Bearer {key}", "accept-encoding": "identity"}
    return httpx.Client(headers=headers, timeout=httpx.Timeout(60, connect=5))


def _cache(mime: str) -> str:
    """Return how long caches may keep an object: records and mirrored files are written again."""
    return kept(mime) if mime.startswith(("video/", "audio/", "image/")) else "no-cache"


def _content(answer: httpx.Response, limit: int) -> bytes:
    """Return the whole of an answer, or raise E_INPUT_VALIDATION over `limit` bytes."""
    content = bytearray()
    for piece in answer.iter_bytes(CHUNK):
        content += piece
        refuse_large(len(content), limit)
    return bytes(content)


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object that an answer holds; an empty one for anything else."""
    try:
        found: object = json.loads(_content(answer, LARGEST_TALE))
    except (ValueError, TalkheadError):  # a proxy's page
        return {}
    return found if isinstance(found, dict) else {}


def _signatures(answer: httpx.Response) -> dict[str, str]:
    """Return the signed paths that an answer holds, by key."""
    try:
        found: object = json.loads(_content(answer, MAX_READ))
    except ValueError:  # a proxy's page
        return {}
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return {
        str(item.get("path")): item["signedURL"]
        for item in items
        if isinstance(item.get("signedURL"), str) and item["signedURL"].startswith("/")
    }


def _refusal(answer: httpx.Response) -> Refusal | None:
    """Return what went wrong, and close the answer; None where nothing did."""
    if answer.is_success:
        return None
    with closing(answer):
        told = {name: str(value) for name, value in _object(answer).items()}
    status = told.get("statusCode", "")
    return Refusal(
        int(status) if re.fullmatch("[1-5][0-9]{2}", status) else answer.status_code,
        told.get("code") or told.get("error", ""),
        f"{told.get('error', '')} {told.get('message', '')}",
    )
