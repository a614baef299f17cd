"""Following a job to its end: server-sent events where the server has them, else looks at /status.

A stream that breaks is no loss: the looks go on where it stopped.
"""

import json
from collections.abc import Callable

from talkhead.errors import TalkheadError
from talkhead.serve.client.steps import Close, Json, Open, Pause, Read, Steps, Stream

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
POLL_S, POLL_MOST_S = 0.5, 5.0  # between two looks at /status; each wait is half longer


class Watch:
    """One job as it goes on. `look` asks for its status; `stream` opens its events, if any."""

    def __init__(
        self, job_id: str, look: Callable[[], Steps[Json]], stream: Open | None = None
    ) -> None:
        self._job_id, self._look, self._to_open = job_id, look, stream
        self._stream: Stream | None = None
        self._event = _Event()
        self._last: Json | None = None
        self._pause = POLL_S

    def next(self) -> Steps[Json | None]:
        """Return the next status body that differs, or None after the one that has ended."""
        if self._last is not None and self._last.get("status") in FINAL:
            return None
        body = yield from self._streamed()
        if body is None:
            body = yield from self._polled()
        self._last = body
        return body

    def end(self) -> Steps[Json]:
        """Return the status body of the job when it has ended."""
        last: Json = {}
        while (body := (yield from self.next())) is not None:
            last = body
        return last

    def close(self) -> Steps[None]:
        """Let go of the stream, where one is open."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            yield Close(stream)

    def _streamed(self) -> Steps[Json | None]:
        """Return what the next event says, or None where there are none any more."""
        try:
            if self._to_open is not None:
                self._stream, self._to_open = (yield self._to_open), None
                if not _has_events(self._stream):
                    yield from self.close()
            while self._stream is not None:
                line = yield Read(self._stream)
                if line is None:
                    yield from self.close()
                elif (event := self._event.feed(line)) is not None:
                    name, data = event
                    return _in_progress(self._job_id, data) if name == "progress" else data
        except TalkheadError as error:
            if not error.retryable:
                raise
            self._to_open = None
            yield from self.close()
        return None

    def _polled(self) -> Steps[Json]:
        """Return the next status that is news."""
        first = self._last is None
        while True:
            if not first:
                yield Pause(self._pause)
                self._pause = min(POLL_MOST_S, self._pause * 1.5)
            first = False
            body = yield from self._look()
            if body != self._last:
                self._pause = POLL_S
                return body
            if body.get("status") in FINAL:
                return body


class _Event:
    """The lines of a server-sent event, as they come; pings and comments are left out."""

    def __init__(self) -> None:
        self._name, self._data = "message", ""

    def feed(self, line: str) -> tuple[str, Json] | None:
        """Take a line; return name and data of the event that it completes."""
        field, _, value = line.partition(":")
        if field == "event":
            self._name = value.strip()
        elif field == "data":
            self._data += value.strip()
        elif not line and self._data:
            name, data = self._name, self._data
            self._name, self._data = "message", ""
            if name in ("status", "progress", "end"):
                return name, _object(data)
        return None


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _has_events(stream: Stream) -> bool:
    kind = str(stream.reply.headers.get("content-type", ""))
    return stream.reply.is_success and kind.startswith("text/event-stream")


def _in_progress(job_id: str, progress: Json) -> Json:
    return {"id": job_id, "status": "IN_PROGRESS", "output": progress}
