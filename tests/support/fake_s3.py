"""A small S3 that checks signatures, refuses trailers as R2 does, and fails when told to."""

import hashlib
import hmac
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

SKEW = timedelta(minutes=15)
LONGEST_S = 604_800
CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    413: "EntityTooLarge",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
STATUS = {
    "AuthorizationQueryParametersError": 400,
    "InvalidKey": 400,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "NotImplemented": 501,
    "PreconditionFailed": 412,
    "XAmzContentSHA256Mismatch": 400,
}
KEPT = {"content-type", "content-disposition", "cache-control"}


@dataclass(frozen=True)
class Asked:
    """One request as it came, whatever became of it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case


@dataclass
class Upload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Failure:
    """What happens to the next requests of one kind."""

    count: int
    status: int
    what: str
    code: str


class FakeS3:
    """Use by `with FakeS3() as s3`; then s3.url, s3.bucket, s3.access_key, s3.secret_key.

    `path` is a beginning of all its paths, as Supabase has; `tls` a server's context. Without
    `conditional` it ignores If-None-Match; with `ascii_keys` it refuses others, as Supabase does.
    """

    def __init__(
        self,
        bucket: str = "bucket",
        *,
        path: str = "",
        tls: ssl.SSLContext | None = None,
        conditional: bool = True,
        ascii_keys: bool = False,
    ) -> None:
        self.bucket, self.path, self.conditional = bucket, path, conditional
        self.ascii_keys = ascii_keys
        self.access_key, self.secret_key = "ACCESS-of-tests", "SECRET-canary-of-tests"
        self.objects: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}  # of the objects
        self.uploads: dict[str, Upload] = {}
        self.requests: list[Asked] = []
        self.outage = False  # every request is answered 503
        self.delay_s = 0.0  # before each answer
        self.ahead_s = 0  # of its clock
        self.cuts = 0  # bodies that will end half-way
        self.problems: list[BaseException] = []  # of the fake itself
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._failures: list[Failure] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def fail(self, count: int, status: int, what: str = "", code: str = "") -> None:
        """Fail the next requests: all, or those of a method, or "part"; status 0 hangs up."""
        with self.lock:
            self._failures.append(Failure(count, status, what, code or CODES.get(status, "")))

    def failure(self, kinds: set[str]) -> Failure | None:
        """Return what is to happen to a request of these kinds, and count it."""
        with self.lock:
            if self.outage:
                return Failure(1, 503, "", CODES[503])
            for planned in self._failures:
                if planned.count and planned.what in kinds:
                    planned.count -= 1
                    return planned
        return None

    def methods(self) -> list[str]:
        """Return the methods of all requests so far."""
        return [asked.method for asked in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        assert not self.problems, self.problems


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    fake: FakeS3

    def handle_error(self, request: Any, client_address: Any) -> None:
        found = sys.exception()
        if found is not None and not isinstance(found, OSError):  # a client may go away
            self.fake.problems.append(found)


def fault(fake: FakeS3, asked: Asked, target: str, body: bytes) -> str | None:
    """Return what is wrong with a request's signature, as an error code."""
    query, headers = dict(asked.query), asked.headers
    now = datetime.now(UTC) + timedelta(seconds=fake.ahead_s)
    if signature := query.pop("X-Amz-Signature", None):
        given, stamp, payload = query, query["X-Amz-Date"], "UNSIGNED-PAYLOAD"
        credential, names = given["X-Amz-Credential"], given["X-Amz-SignedHeaders"]
        if code := _stale(now - _time(stamp), int(query["X-Amz-Expires"])):
            return code
    elif headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        pairs = headers["authorization"].partition(" ")[2].replace(" ", "").split(",")
        given = dict(pair.split("=", 1) for pair in pairs)
        credential, names = given["Credential"], given["SignedHeaders"]
        signature = given["Signature"]
        stamp, payload = headers["x-amz-date"], headers["x-amz-content-sha256"]
        if abs(now - _time(stamp)) > SKEW:
            return "RequestTimeTooSkewed"
        if payload not in {"UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()}:
            return "XAmzContentSHA256Mismatch"
    else:
        return "AccessDenied"
    access, *scope = credential.split("/")
    if access != fake.access_key:
        return "InvalidAccessKeyId"
    whole = _canonical(asked.method, target, query, names, headers, payload)
    good = hmac.compare_digest(_signed(fake.secret_key, stamp, scope, whole), signature)
    usual = scope[0] == stamp[:8] and scope[2:] == ["s3", "aws4_request"]
    return None if good and usual and "host" in names.split(";") else "SignatureDoesNotMatch"


def _stale(age: timedelta, life_s: int) -> str | None:
    if not 0 < life_s <= LONGEST_S:
        return "AuthorizationQueryParametersError"
    return None if -SKEW < age < timedelta(seconds=life_s) else "AccessDenied"


def _canonical(
    method: str,
    target: str,
    query: Mapping[str, str],
    names: str,
    headers: Mapping[str, str],
    payload: str,
) -> str:
    listed = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(query.items())
    )
    lines = "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in names.split(";"))
    return "\n".join([method, urlsplit(target).path, listed, lines, names, payload])


def _signed(secret: str, stamp: str, scope: list[str], whole: str) -> str:
    digest = hashlib.sha256(whole.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in [*scope, "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest])]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _time(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What to answer, once nothing is locked any more."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def error(code: str, status: int = 0) -> Reply:
    """Return S3's answer to something wrong."""
    return Reply(status or STATUS.get(code, 403), f"<Error><Code>{code}</Code></Error>".encode())


def act(fake: FakeS3, asked: Asked, body: bytes) -> Reply:
    """Do what a rightful request asks for."""
    bucket, _, key = asked.path.removeprefix(fake.path).lstrip("/").partition("/")
    if bucket != fake.bucket or not asked.path.startswith(f"{fake.path}/"):
        return error("NoSuchBucket")
    if fake.ascii_keys and not key.isascii():
        return error("InvalidKey")
    if "uploads" in asked.query:
        name = f"upload-{len(fake.requests)}"
        fake.uploads[name] = Upload(key, _kept(asked))
        return Reply(200, f"<R><UploadId>{name}</UploadId></R>".encode())
    if "uploadId" in asked.query:
        return _part(fake, asked, body)
    if asked.method == "PUT":
        return _keep(fake, asked, Upload(key, _kept(asked)), body)
    if asked.method == "DELETE":
        fake.objects.pop(key, None)
        return Reply(204)
    if key not in fake.objects:
        return error("NoSuchKey")
    return Reply(200, fake.objects[key], fake.headers[key])


def _part(fake: FakeS3, asked: Asked, body: bytes) -> Reply:
    name = asked.query["uploadId"]
    if name not in fake.uploads:
        return error("NoSuchUpload")
    if asked.method == "PUT":
        fake.uploads[name].parts[int(asked.query["partNumber"])] = body
        return Reply(200, b"", {"ETag": _etag(body)})
    done = fake.uploads.pop(name)
    if asked.method == "DELETE":
        return Reply(204)
    whole = b"".join(done.parts[number] for number in sorted(done.parts))
    return _keep(fake, asked, done, whole)


def _keep(fake: FakeS3, asked: Asked, upload: Upload, content: bytes) -> Reply:
    key = upload.key
    if fake.conditional and "if-none-match" in asked.headers and key in fake.objects:
        return error("PreconditionFailed")
    fake.objects[key], fake.headers[key] = content, upload.headers
    etag = _etag(content)
    return Reply(200, f"<R><ETag>{escape(etag)}</ETag></R>".encode(), {"ETag": etag})


def _kept(asked: Asked) -> dict[str, str]:
    return {
        name: value
        for name, value in asked.headers.items()
        if name in KEPT or name.startswith("x-amz-meta-")
    }


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"
    timeout = 5

    def log_message(self, *_: object) -> None:
        pass

    def payload(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            self.rfile.read(size + 2)
        while self.rfile.readline().strip():
            pass  # the trailer
        return b""

    def serve(self) -> None:
        fake = self.server.fake
        body = self.payload()
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        names = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, unquote(url.path), query, names)
        with fake.lock:
            fake.requests.append(asked)
        if fake.delay_s:
            fake.closing.wait(fake.delay_s)
        self.close_connection = True
        if reply := self.judged(asked, body):
            self.send(reply)

    def judged(self, asked: Asked, body: bytes) -> Reply | None:
        fake = self.server.fake
        kinds = {"", asked.method} | ({"part"} if "partNumber" in asked.query else set())
        if failure := fake.failure(kinds):
            return error(failure.code, failure.status) if failure.status else None
        encoding = asked.headers.get("content-encoding", "")
        if "aws-chunked" in encoding or "x-amz-trailer" in asked.headers:
            return error("NotImplemented")  # as R2 has it
        if code := fault(fake, asked, self.path, body):
            return error(code)
        with fake.lock:
            return act(fake, asked, body)

    def send(self, reply: Reply) -> None:
        length = self.length(reply)  # decided before the client sees anything
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body[:length])

    def length(self, reply: Reply) -> int:
        fake = self.server.fake
        with fake.lock:
            if self.command != "GET" or reply.status != 200 or not fake.cuts:
                return len(reply.body)
            fake.cuts -= 1
            return len(reply.body) // 2


for _method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.serve)


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
