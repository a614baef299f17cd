"""What Prometheus reads at /metrics."""

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from talkhead import __version__
from talkhead.serve.answering import Answer
from talkhead.serve.dispatch import failure
from talkhead.serve.pool import LANES, Pool
from talkhead.serve.queue import Entry, Status

LONG = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)  # seconds of a job
SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)  # of a call


class Metrics:
    """Counters and clocks of one server, in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        info = Gauge("talkhead_info", "Version.", ["version"], registry=own)
        info.labels(__version__).set(1)
        self.jobs = Gauge("talkhead_jobs", "Jobs in the list, by state.", ["status"], registry=own)
        self.slots = Gauge(
            "talkhead_slots", "Rendering processes.", ["lane", "state"], registry=own
        )
        self.ended = Counter(
            "talkhead_ended_total", "Jobs that ended.", ["lane", "status", "code"], registry=own
        )
        self.waited = Histogram(
            "talkhead_waited_seconds", "In the queue.", ["lane"], buckets=LONG, registry=own
        )
        self.worked = Histogram(
            "talkhead_worked_seconds", "At work.", ["lane"], buckets=LONG, registry=own
        )
        self.stages = Counter(
            "talkhead_stage_seconds_total", "Work, by stage.", ["stage"], registry=own
        )
        self.frames = Counter("talkhead_frames_total", "Frames of finished videos.", registry=own)
        self.calls = Histogram(
            "talkhead_http_seconds",
            "Calls, by route.",
            ["method", "route", "status"],
            buckets=SHORT,
            registry=own,
        )

    def end(self, entry: Entry, answer: Answer | None) -> None:
        """Count a job's end."""
        code = failure(entry.error).get("code", "")
        self.ended.labels(entry.lane, entry.status, code).inc()
        if entry.began is not None:
            self.waited.labels(entry.lane).observe(max(0.0, entry.began - entry.queued))
            if entry.ended is not None:
                self.worked.labels(entry.lane).observe(max(0.0, entry.ended - entry.began))
        result = answer.body.get("result", {}) if answer is not None else {}
        for stage, seconds in result.get("seconds", {}).items():
            self.stages.labels(stage).inc(seconds)
        for made in (result, *(end.get("result") or {} for end in result.get("items") or ())):
            if made.get("outputs") and not made.get("repeated"):
                self.frames.inc((made.get("plan") or {}).get("frames", 0))

    def text(self, counts: Mapping[Status, int], pool: Pool) -> bytes:
        """Return all of it in Prometheus' words."""
        for status, count in counts.items():
            self.jobs.labels(status).set(count)
        for lane in LANES:
            self.slots.labels(lane, "all").set(pool.size(lane))
            self.slots.labels(lane, "ready").set(pool.ready(lane))
            self.slots.labels(lane, "busy").set(pool.busy(lane))
        return generate_latest(self.registry)


class Clock:
    """ASGI middleware that times calls by the route that serves them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on and note how long it took and how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - began
            route = route_of(scope)
            self._metrics.calls.labels(scope["method"], route, str(status)).observe(seconds)


def route_of(scope: Scope) -> str:
    """Return the pattern of the route that served a call; `page` for those that are not ours."""
    return getattr(scope.get("route"), "path", None) or "page"
