"""Supabase Storage's REST interface as measured: most errors are a 400 with the truth inside."""

import base64
import hashlib
import hmac
import json
import re
import ssl
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

SECRET = b"project-jwt-secret"
KEY = re.compile(r"[\w/!.*'() &$@=;:+,?-]+", re.ASCII)
ABSENT = (404, "not_found", "NoSuchKey", "Object not found")
NO_BUCKET = (404, "Bucket not found", "NoSuchBucket", "Bucket not found")
BAD_JWT = (403, "Unauthorized", "AccessDenied", "signature verification failed")
BAD_TOKEN = (400, "InvalidJWT", "InvalidJWT", "jwt expired")
POLICY = (403, "Unauthorized", "AccessDenied", "new row violates row-level security policy")
BUSY = (503, "acquiring_lock_timeout", "LockTimeout", "acquiring lock timeout")


@dataclass(frozen=True)
class Kept:
    content: bytes
    mime: str
    cache: str
    beside: dict[str, str] | None  # user metadata


@dataclass
class FakeSupabase:
    """`with FakeSupabase() as it: it.url, it.key, it.bucket, it.objects, it.fail(n, status)`.

    `fail` answers with a status of HTTP's own, as gateways do, and `busy` with one inside a 400;
    `cut` ends an upload unanswered, and a download after half of its body.
    """

    bucket: str = "bucket"
    public: bool = False
    limit: int = 40 * 2**20
    mimes: tuple[str, ...] = ()
    keeps: bool = True  # user metadata
    lost: int = 0  # bytes at the end of what is kept
    outage: bool = False
    fails_puts: bool = False
    tls: ssl.SSLContext | None = None
    objects: dict[str, Kept] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _failing: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key, self.anon = jwt({"role": "service_role"}), jwt({"role": "anon"})
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def fail(self, times: int, status: int) -> None:
        with self.lock:
            self._failing += [("http", status)] * times

    def busy(self, times: int) -> None:
        with self.lock:
            self._failing += [("body", 503)] * times

    def cut(self, after: int = 0) -> None:
        """Cut the request that follows `after` others."""
        with self.lock:
            self._failing += [("", 0)] * after + [("cut", 0)]

    def forget_answer(self) -> None:
        """Do the next upload, and answer it with a 502 as a gateway does."""
        with self.lock:
            self._failing.append(("forget", 502))

    def failure(self) -> tuple[str, int] | None:
        with self.lock:
            return self._failing.pop(0) if self._failing else None

    def count(self, method: str) -> int:
        return Counter(entry[0] for entry in self.seen)[method]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away, as a stopped download does."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def jwt(claims: dict[str, Any]) -> str:
    def coded(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    text = ".".join(coded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return f"{text}.{coded(hmac.digest(SECRET, text.encode(), hashlib.sha256))}"


def claims_of(token: str) -> dict[str, Any] | None:
    """Return what a token says, or None for a forged or expired one."""
    middle = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except ValueError:
        return None
    good = jwt(claims) == token and claims.get("exp", time.time() + 1) > time.time()
    return claims if good else None


def _handler(fake: FakeSupabase) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (one class)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, mime: str = "application/json", **more: str):
            self.send_response(status)
            self.send_header("Content-Type", mime)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            for name, value in more.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.close_connection = True
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if self.halved else body)

        def error(self, wrong: tuple[int, str, str, str], http: int = 400) -> None:
            names = ("statusCode", "error", "code", "message")
            told = dict(zip(names, (str(wrong[0]), *wrong[1:]), strict=True))
            self.answer(http, json.dumps(told).encode())

        def serve(self) -> None:
            url = urlsplit(self.path)
            fake.seen.append(
                (self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
            )
            kind, status = fake.failure() or ("", 0)
            self.forget = kind == "forget"  # the answer
            self.halved = kind == "cut" and self.command == "GET"
            if kind == "cut" and not self.halved:
                self.rfile.read(min(int(self.headers.get("content-length", 0)), 1000))
                self.close_connection = True
            elif kind == "body":
                self.drop()
                self.error(BUSY)
            elif kind == "http" or self.out():
                self.drop()
                self.answer(status or 503, b"<html>bad gateway</html>", "text/html")
            else:
                self.route(unquote(url.path).removeprefix("/storage/v1/"), url.query)

        def out(self) -> bool:
            put = self.command == "POST" and "/object/sign/" not in self.path
            return fake.outage or (fake.fails_puts and put)

        def drop(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))

        def route(self, path: str, query: str) -> None:
            kind, bucket, key = _parted(path)
            if kind == "upload" and self.command == "PUT":
                self.signed(f"{bucket}/{key}", parse_qs(query).get("token", [""])[0], put=True)
            elif kind == "sign" and self.command == "GET":
                self.signed(f"{bucket}/{key}", parse_qs(query).get("token", [""])[0])
            elif kind == "public":
                self.give(key) if fake.public and bucket == fake.bucket else self.error(NO_BUCKET)
            elif not (claims := self.claims()):
                self.drop()
                self.error(BAD_JWT)
            elif bucket != fake.bucket:
                self.drop()
                self.error(NO_BUCKET)
            elif claims["role"] != "service_role":
                self.drop()
                self.error(POLICY, http=403) if self.command == "POST" else self.error(ABSENT)
            else:
                self.act(kind, key)

        def claims(self) -> dict[str, Any] | None:
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            return claims_of(token) if self.headers.get("apikey") == token else None

        def signed(self, path: str, token: str, *, put: bool = False) -> None:
            claims = claims_of(token) or {}
            if claims.get("url") != path or claims.get("upsert") != (False if put else None):
                self.drop()
                self.error(BAD_TOKEN)
            elif put:
                self.upload(path.partition("/")[2])
            else:
                self.give(path.partition("/")[2])

        def act(self, kind: str, key: str) -> None:
            if self.command == "POST" and kind == "":
                self.upload(key)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if kind == "upload" and self.command == "POST":
                token = jwt({"url": f"{fake.bucket}/{key}", "upsert": False,
                             "exp": time.time() + 7200})  # fmt: skip
                path = quote(f"/object/upload/sign/{fake.bucket}/{key}")
                self.answer(200, json.dumps({"url": f"{path}?token={token}"}).encode())
            elif kind == "sign" and not key:
                self.sign(json.loads(body))
            elif key not in fake.objects:
                self.error(ABSENT)
            elif self.command == "DELETE":
                del fake.objects[key]
                self.answer(200, b'{"message":"Successfully deleted"}')
            elif kind == "info":
                kept = fake.objects[key]
                told = {"name": key, "size": len(kept.content), "metadata": kept.beside}
                self.answer(200, json.dumps(told).encode())
            elif kind == "sign":
                signed = self.signature(key, json.loads(body)["expiresIn"])
                self.answer(200, json.dumps({"signedURL": signed}).encode())
            else:
                self.give(key)

        def signature(self, key: str, expires_s: float) -> str:
            token = jwt({"url": f"{fake.bucket}/{key}", "exp": time.time() + expires_s})
            return quote(f"/object/sign/{fake.bucket}/{key}") + f"?token={token}"

        def sign(self, asked: dict[str, Any]) -> None:
            """Sign many at once; what is not there has an error in the place of a signature."""
            absent = "Either the object does not exist or you do not have access to it"
            found = [
                {"error": None, "path": key, "signedURL": self.signature(key, asked["expiresIn"])}
                if key in fake.objects
                else {"error": absent, "path": key, "signedURL": None}
                for key in asked["paths"]
            ]
            self.answer(200, json.dumps(found).encode())

        def give(self, key: str) -> None:
            kept = fake.objects.get(key)
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
            if kept is None:
                self.error(ABSENT)
            elif asked:
                first, last = int(asked[1]), int(asked[2] or len(kept.content) - 1)
                span = f"bytes {first}-{last}/{len(kept.content)}"
                self.answer(206, kept.content[first : last + 1], kept.mime, Content_Range=span)
            else:
                self.answer(200, kept.content, kept.mime, Cache_Control=kept.cache)

        def upload(self, key: str) -> None:
            size, mime = int(self.headers["content-length"]), self.headers["content-type"]
            if size > fake.limit:  # told before the body is read, as a stream over its limit is
                self.error(
                    (413, "Payload too large", "EntityTooLarge", "The object exceeded"), http=413
                )
                return
            body = self.rfile.read(size)
            if fake.mimes and mime not in fake.mimes:
                self.error((415, "invalid_mime_type", "InvalidMimeType", f"{mime} is not"))
            elif not KEY.fullmatch(key):
                self.error((400, "InvalidKey", "InvalidKey", f"Invalid key: {key}"))
            else:
                self.keep(key, body, mime)

        def keep(self, key: str, body: bytes, mime: str) -> None:
            beside = json.loads(base64.b64decode(self.headers.get("x-metadata", "bnVsbA==")))
            kept = Kept(
                body[: len(body) - fake.lost], mime, self.headers.get("cache-control", ""), beside
            )
            with fake.lock:
                there = key in fake.objects and self.headers.get("x-upsert") != "true"
                if not there:
                    fake.objects[key] = kept if fake.keeps else replace(kept, beside=None)
            if there:
                self.error((409, "Duplicate", "KeyAlreadyExists", "The resource already exists"))
            elif self.forget:
                self.answer(502, b"<html>bad gateway</html>", "text/html")
            else:
                self.answer(200, json.dumps({"Key": f"{fake.bucket}/{key}", "Id": "1"}).encode())

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve  # noqa: N815 (the base class asks by these names)

    return Handler


def _parted(path: str) -> tuple[str, str, str]:
    """Return what is asked of an object, its bucket and its key."""
    for kind in ("info/authenticated", "authenticated", "public", "upload/sign", "sign", ""):
        start = f"object/{kind}/" if kind else "object/"
        if path.startswith(start):
            bucket, _, key = path.removeprefix(start).partition("/")
            return kind.partition("/")[0].replace("authenticated", "read"), bucket, key
    return "", "", ""
