"""The server's paths: RunPod's own, and beside them files, history and what can be asked for.

Each looks at the call, asks queue or dispatcher, and answers; what goes wrong is RefusedError.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.pool import on_gpus
from talkhead.serve.queue import FINAL, ConflictError, Entry, FullError, Ticket
from talkhead.serve.server import about, document, files, history, library, partial, wire
from talkhead.serve.server.events import Streams, events
from talkhead.serve.server.metrics import Metrics
from talkhead.serve.server.refusals import Json, RefusedError, refused, unknown
from talkhead.serve.server.submissions import body_of, check_id, ticket
from talkhead.settings import Settings

WAIT_S = 90.0  # that /runsync waits for an answer
PAGE, MOST = 50, 500  # jobs of a list

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes work with."""

    settings: Settings
    dispatcher: Dispatcher
    uploads: files.Uploads
    metrics: Metrics
    streams: Streams


def router(parts: Parts) -> APIRouter:
    """Return all routes."""
    made = APIRouter()
    _running(made, parts)
    _looking(made, parts)
    _ending(made, parts)
    _giving(made, parts)
    _beside(made, parts)
    return made


def _running(made: APIRouter, parts: Parts) -> None:
    """Add what queues a job."""

    @made.post("/run")
    async def run(request: Request) -> Body:
        entry = await _submit(parts, _ticket(parts, await body_of(request, "run")))
        return {"id": entry.id, "status": entry.status}

    @made.put("/run/{id}")
    async def put(id: str, request: Request) -> Body:  # noqa: A002 (the path's own word)
        body = await body_of(request, "run")
        entry = await _submit(parts, _ticket(parts, body, check_id(id)))
        return {"id": entry.id, "status": entry.status}

    @made.post("/runsync")
    async def runsync(request: Request) -> Body:
        body = await body_of(request, "runsync")
        seconds = _wait(request.query_params.get("wait"))
        entry = await _submit(parts, _ticket(parts, body))
        over = await parts.dispatcher.over(entry.id, seconds)
        return await _status(parts, over or entry)


def _looking(made: APIRouter, parts: Parts) -> None:
    """Add what tells how jobs are."""

    @made.get("/status/{id}")
    @made.post("/status/{id}", include_in_schema=False)  # as RunPod has it too
    async def status(id: str) -> Response:  # noqa: A002
        # asked far more often than all else: written as it is, not looked through by FastAPI
        return Json(await _status(parts, await _entry(parts, id)))

    @made.get("/stream/{id}")
    async def stream(id: str, request: Request) -> Response:  # noqa: A002
        await _entry(parts, id)
        if "text/event-stream" in request.headers.get("accept", ""):
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            told = events(parts.dispatcher, id)
            return StreamingResponse(told, media_type="text/event-stream", headers=headers)
        return Json(await parts.streams.take(id))

    @made.get("/health")
    async def health() -> Body:
        counts = await asyncio.to_thread(parts.dispatcher.queue.counts)
        return about.health(counts, parts.dispatcher.pool)

    @made.get("/jobs")
    async def jobs(request: Request) -> Body:
        limit, before, status = history.asked(request.query_params, PAGE, MOST)
        queue = parts.dispatcher.queue
        found = await asyncio.to_thread(history.visible, queue, limit, before, status)
        more = found[-1].turn if len(found) == limit else None
        return {"jobs": [wire.listed(entry) for entry in found], "next": more}

    @made.get("/jobs/{id}")
    async def job(id: str) -> Body:  # noqa: A002
        entry = await _entry(parts, id)
        body = await asyncio.to_thread(parts.dispatcher.queue.body, id) or {}
        status = await _status(parts, entry)
        return {
            **wire.listed(entry),
            **{name: status[name] for name in ("output", "error", "position") if name in status},
            "input": wire.shortened(body.get("input")),
        }


def _ending(made: APIRouter, parts: Parts) -> None:
    """Add what ends jobs, begins them again or forgets them."""

    @made.post("/cancel/{id}")
    async def cancel(id: str) -> Body:  # noqa: A002
        entry = await parts.dispatcher.cancel(id)
        if entry is None:
            raise unknown(id)
        return await _status(parts, entry)

    @made.post("/retry/{id}")
    async def retry(id: str) -> Body:  # noqa: A002
        before = await _entry(parts, id)
        if before.status not in FINAL or before.status == "COMPLETED":
            raise refused(
                409, f"job {id!r} is {before.status}", "only what failed or was ended is retried"
            )
        entry = await parts.dispatcher.retry(id) or before
        return {"id": entry.id, "status": entry.status}

    @made.post("/purge-queue")
    async def purge() -> Body:
        return {"removed": await parts.dispatcher.purge(), "status": "completed"}

    @made.delete("/jobs/{id}")
    async def forget(id: str) -> Body:  # noqa: A002
        entry = await _entry(parts, id)
        if entry.status not in FINAL:
            raise refused(409, f"job {id!r} is {entry.status}", "cancel it first")
        deleted = await asyncio.to_thread(history.forget, parts.settings, entry)
        await asyncio.to_thread(parts.dispatcher.queue.forget, id)
        return {"id": id, "deleted": deleted}


def _giving(made: APIRouter, parts: Parts) -> None:
    """Add what takes and gives files."""

    @made.put("/uploads/{name}", status_code=201)
    async def upload(name: str, request: Request) -> Body:  # noqa: ARG001 (for people)
        return await parts.uploads.take(request)

    @made.get("/uploads/{name}")
    async def sent(name: str) -> Response:
        return parts.uploads.answer(name)

    @made.get("/library/{key:path}")
    async def shelf(key: str) -> Response:
        return await asyncio.to_thread(library.answer, parts.settings, key)

    @made.get("/files/{key:path}")
    async def file(key: str) -> Response:
        return files.result(parts.settings, key)

    @made.get("/partial/{id}")
    async def part(id: str) -> Response:  # noqa: A002
        entry = await _entry(parts, id)
        return await partial.answer(parts.settings, parts.dispatcher, entry)


def _beside(made: APIRouter, parts: Parts) -> None:
    """Add abilities and figures."""

    @made.get("/capabilities")
    async def capabilities() -> Body:
        return await asyncio.to_thread(about.capabilities, parts.settings)

    @made.get("/metrics")
    async def metrics() -> Response:
        counts = await asyncio.to_thread(parts.dispatcher.queue.counts)
        text = parts.metrics.text(counts, parts.dispatcher.pool)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @made.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await asyncio.to_thread(document.text), media_type="application/json")

    @made.get("/ping")
    async def ping() -> Body:
        return {"status": "ok"}


def _ticket(parts: Parts, body: Body, job_id: str | None = None) -> Ticket:
    settings = parts.settings
    return ticket(body, job_id, gpus=on_gpus(settings), default=settings.engine)


async def _submit(parts: Parts, wanted: Ticket) -> Entry:
    try:
        return await parts.dispatcher.submit(wanted)
    except ConflictError as error:
        raise RefusedError(409, error) from error
    except FullError as error:
        raise RefusedError(429, error, {"Retry-After": "30"}) from error


async def _entry(parts: Parts, job_id: str) -> Entry:
    entry = await parts.dispatcher.entry(job_id)
    if entry is None:
        raise unknown(job_id)
    return entry


async def _status(parts: Parts, entry: Entry) -> Body:
    live, ahead = parts.dispatcher.live.get(entry.id), None
    if entry.status == "IN_QUEUE":
        ahead = await asyncio.to_thread(parts.dispatcher.queue.ahead, entry.id)
    return wire.status(entry, live, ahead)


def _wait(asked: str | None) -> float:
    """Return the seconds that /runsync waits, from milliseconds."""
    if asked is None:
        return WAIT_S
    if not (asked.isascii() and asked.isdigit() and len(asked) < 10):
        raise refused(400, "wait: not milliseconds", "a whole number up to 90000")
    return min(WAIT_S, int(asked) / 1000)
