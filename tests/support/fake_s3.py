"""A small S3 that checks signatures, refuses trailers as R2 does, and fails when told to."""

import datetime
import hashlib
import hmac
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit


class FakeS3:
    """`with FakeS3() as s3: s3.url, s3.bucket, s3.objects, s3.fail(n, status)`."""

    access, secret = "ACCESS", "SECRET-canary"

    def __init__(
        self, path: str = "", tls: ssl.SSLContext | None = None, *, conditional: bool = True
    ) -> None:
        self.bucket, self.path, self.conditional = "bucket", path, conditional
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.out = False  # an outage: every request is a 503
        self.lock = threading.Lock()
        self._failing: list[tuple[str, int]] = []  # method or "part", HTTP status; 0 cuts
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def fail(self, times: int, status: int, what: str = "") -> None:
        """Fail the next requests: all, or those of a method, or of a "part"; status 0 cuts."""
        with self.lock:
            self._failing += [(what, status)] * times

    def failure(self, kinds: set[str]) -> int | None:
        with self.lock:
            if self.out:
                return 503
            for entry in self._failing:
                if entry[0] in kinds:
                    self._failing.remove(entry)
                    return entry[1]
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _sign(secret: str, scope: list[str], text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in [*scope, text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _fault(fake: FakeS3, method: str, target: str, headers: Any, body: bytes) -> str | None:
    """Return what is wrong with a request's signature, as an error code."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    if signed := query.pop("X-Amz-Signature", None):
        credential, names = query["X-Amz-Credential"], query["X-Amz-SignedHeaders"]
        stamp, payload = query["X-Amz-Date"], "UNSIGNED-PAYLOAD"
        began = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        life = int(query["X-Amz-Expires"])
        if life > 604800 or _now() >= began + datetime.timedelta(seconds=life):
            return "AccessDenied"
    elif headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 "):
        pairs = headers["authorization"].partition(" ")[2].replace(" ", "").split(",")
        given = dict(pair.split("=", 1) for pair in pairs)
        credential, names, signed = given["Credential"], given["SignedHeaders"], given["Signature"]
        stamp, payload = headers["x-amz-date"], headers["x-amz-content-sha256"]
        if payload not in {"UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()}:
            return "XAmzContentSHA256Mismatch"
    else:
        return "AccessDenied"
    access, *scope = credential.split("/")
    if access != fake.access:
        return "InvalidAccessKeyId"
    listed = "&".join(
        f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())
    )
    lines = "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in names.split(";"))
    whole = "\n".join([method, url.path, listed, lines, names, payload])
    digest = hashlib.sha256(whole.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest])
    good = hmac.compare_digest(_sign(fake.secret, scope, text), signed)
    return None if good else "SignatureDoesNotMatch"


def _handler(fake: FakeS3) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (one class)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            if self.command != "HEAD":
                self.wfile.write(body)

        def error(self, status: int, code: str) -> None:
            self.answer(status, f"<Error><Code>{code}</Code></Error>".encode())

        def serve(self) -> None:
            if self.headers.get("expect") and self.request_version == "HTTP/1.1":
                pass  # http.server has sent 100 Continue
            if "chunked" in self.headers.get("transfer-encoding", ""):
                self.error(501, "NotImplemented")  # as R2 answers aws-chunked and trailers
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            fake.seen.append((self.command, {k.lower(): v for k, v in self.headers.items()}))
            kinds = {"", self.command} | ({"part"} if "partNumber" in query else set())
            status = fake.failure(kinds)
            if status == 0:
                self.close_connection = True
            elif status:
                self.error(status, "ServiceUnavailable" if status == 503 else "InternalError")
            elif code := _fault(fake, self.command, self.path, self.headers, body):
                self.error(403, code)
            else:
                self.act(query, body)

        def act(self, query: dict[str, str], body: bytes) -> None:
            path = unquote(urlsplit(self.path).path).removeprefix(fake.path).lstrip("/")
            bucket, _, key = path.partition("/")
            if bucket != fake.bucket:
                self.error(404, "NoSuchBucket")
            elif "uploads" in query or "uploadId" in query:
                self.multipart(query, key, body)
            elif self.command == "PUT":
                with fake.lock:
                    there = key in fake.objects and "if-none-match" in self.headers
                    if not (there and fake.conditional):
                        fake.objects[key] = (body, self.kept())
                        there = False
                self.error(412, "PreconditionFailed") if there else self.answer(200, ETag='"e"')
            elif self.command == "DELETE":
                fake.objects.pop(key, None)
                self.answer(204)
            elif key not in fake.objects:
                self.error(404, "NoSuchKey")
            else:
                content, kept = fake.objects[key]
                self.answer(200, content, Content_Length=str(len(content)), **kept)

        def kept(self) -> dict[str, str]:
            names = {"content-type", "content-disposition", "cache-control"}
            return {
                name.lower(): value
                for name, value in self.headers.items()
                if name.lower() in names or name.lower().startswith("x-amz-meta-")
            }

        def multipart(self, query: dict[str, str], key: str, body: bytes) -> None:
            if "uploads" in query:
                upload = f"u{len(fake.seen)}"
                fake.uploads[upload] = {}
                fake.objects[f"?{upload}"] = (b"", self.kept())
                xml = f"<R><UploadId>{upload}</UploadId></R>"
                self.answer(200, xml.encode())
                return
            upload = query["uploadId"]
            if self.command == "PUT":
                fake.uploads[upload][int(query["partNumber"])] = body
                self.answer(200, ETag='"e"')
                return
            parts, (_, kept) = fake.uploads.pop(upload), fake.objects.pop(f"?{upload}")
            if self.command == "DELETE":
                self.answer(204)
                return
            fake.objects[key] = (b"".join(parts[n] for n in sorted(parts)), kept)
            self.answer(200, b'<R><ETag>"e"</ETag></R>')

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815 (the base class asks by these names)

    return Handler
