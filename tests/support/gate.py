"""What asks for a key before an endpoint, as RunPod does and the local control plane does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

PASSED_ON = ("content-type", "accept")


@contextmanager
def gate(endpoint: str, key: str) -> Iterator[str]:
    """Yield the address of an endpoint behind its key: calls without it are 401."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, kind, text = 401, "text/plain", b"Unauthorized"
            if self.headers.get("Authorization") == f"Bearer {key}":
                told = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
                url = endpoint + self.path
                reply = httpx.request(self.command, url, content=body, headers=told, timeout=120)
                status, text = reply.status_code, reply.content
                kind = reply.headers.get("content-type", "")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (its names)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
