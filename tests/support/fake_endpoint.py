"""An endpoint that answers every request with a prepared video, in the shape of RunPod."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Change = Callable[[Json], None]


class FakeEndpoint:
    """Serves one video file. `change` spoils the result; what was asked before comes repeated."""

    def __init__(self, video: Path, plan: Json, change: Change = lambda _result: None) -> None:
        self.plan = plan
        self.change = change
        self.asked: list[Json] = []
        self.keys: list[str | None] = []  # the bearer tokens
        self.cancelled: list[str] = []
        self.status = "COMPLETED"
        self.error: str | None = None
        self._video = video.read_bytes()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.base = f"http://127.0.0.1:{self._server.server_port}/v2/fake"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answered(self, method: str, path: str, body: Json) -> tuple[int, bytes]:
        """Return the HTTP status and the body of an answer."""
        _, _, _, call, *rest = path.split("/")
        if call == "run":
            self.asked.append(body["input"])
            return 200, _bytes({"id": f"job-{len(self.asked) - 1}", "status": "IN_QUEUE"})
        if call == "cancel":
            self.cancelled.append(rest[0])
            return 200, _bytes({"id": rest[0], "status": "CANCELLED"})
        if call == "status":
            return 200, _bytes(self._status(rest[0]))
        if call == "files" and rest == ["video.mp4"]:
            return 200, self._video
        return 404, b"{}"

    def _status(self, job_id: str) -> Json:
        shown: Json = {"id": job_id, "status": self.status, "delayTime": 20, "workerId": "pod-1"}
        if self.error is not None:
            return {**shown, "error": self.error}
        if self.status == "COMPLETED":
            result = self._result(int(job_id.removeprefix("job-")))
            shown |= {"executionTime": 900, "output": {"result": result}}
        return shown

    def _result(self, number: int) -> Json:
        key = self.asked[number]["idempotency_key"]
        result: Json = {
            "action": "talk",
            "version": "1",
            "job_id": key,
            "repeated": any(one["idempotency_key"] == key for one in self.asked[:number]),
            "plan": dict(self.plan),
            "outputs": [
                {
                    "kind": "video",
                    "key": f"renders/smoke/{key}/video.mp4",
                    "url": f"{self.base}/files/video.mp4?signature=hush",
                    "mime": "video/mp4",
                    "bytes": len(self._video),
                    "sha256": hashlib.sha256(self._video).hexdigest(),
                }
            ],
        }
        self.change(result)
        return result


@contextmanager
def endpoint(
    video: Path, plan: Json, change: Change = lambda _result: None
) -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint(video, plan, change)
    thread = threading.Thread(target=fake.serve)
    thread.start()
    try:
        yield fake
    finally:
        fake.close()
        thread.join()


def _bytes(body: Json) -> bytes:
    return json.dumps(body).encode()


def _handler(fake: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(json.loads(self.rfile.read(length) or b"{}"))

        def _answer(self, body: Json) -> None:
            fake.keys.append(self.headers.get("Authorization"))
            status, content = fake.answered(self.command, self.path.partition("?")[0], body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
