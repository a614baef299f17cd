"""Supabase Storage's REST interface as measured: most errors are a 400 with the truth inside."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


class FakeSupabase:
    """`with FakeSupabase() as it: it.url, it.key, it.bucket, it.objects, it.fail(n, status)`."""

    key, bucket, limit = "service-canary", "bucket", 40 * 2**20

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.refuse: tuple[int, str] | None = None  # status and error of every upload
        self.failing: list[int] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def fail(self, times: int, status: int) -> None:
        self.failing += [status] * times

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(fake: FakeSupabase) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (one class)
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, mime: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", mime)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def error(self, http: int, status: int, error: str, message: str = "") -> None:
            body = {"statusCode": str(status), "error": error, "message": message}
            self.answer(http, json.dumps(body).encode())

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = urlsplit(self.path)
            path = unquote(url.path).removeprefix("/storage/v1/object/")
            action, _, rest = path.partition("/")
            if fake.failing:
                self.error(fake.failing.pop(), 500, "Internal")
            elif action == "sign" and self.command == "GET":
                self.signed(rest.partition("/")[2], parse_qs(url.query)["token"][0])
            elif self.headers.get("authorization") != f"Bearer {fake.key}":
                self.error(400, 403, "Unauthorized")
            elif action == "sign":
                until = time.time() + json.loads(body)["expiresIn"]
                token = {"signedURL": f"/object/sign/{url.path.split('/sign/')[1]}?token={until}"}
                self.answer(200, json.dumps(token).encode())
            elif action != fake.bucket:
                self.error(400, 404, "Bucket not found", "Bucket not found")
            else:
                self.act(rest, body)

        def signed(self, key: str, token: str) -> None:
            if time.time() > float(token):
                self.error(400, 400, "InvalidJWT")
            else:
                self.answer(200, *fake.objects[key])

        def act(self, key: str, body: bytes) -> None:
            if self.command == "POST":
                self.upload(key, body)
            elif key not in fake.objects:
                self.error(400, 404, "not_found", "Object not found")
            elif self.command == "DELETE":
                del fake.objects[key]
                self.answer(200, b"{}")
            else:
                self.answer(200, *fake.objects[key])

        def upload(self, key: str, body: bytes) -> None:
            with fake.lock:
                if fake.refuse:
                    self.error(400, *fake.refuse)
                elif not key.isascii():
                    self.error(400, 400, "InvalidKey")
                elif key in fake.objects and self.headers["x-upsert"] != "true":
                    self.error(400, 409, "Duplicate")
                else:
                    fake.objects[key] = (body, self.headers["content-type"])
                    self.answer(200, b"{}")

        do_GET = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815 (the base class asks by these names)

    return Handler
