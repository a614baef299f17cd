"""A RunPod control plane on loopback: production's paths, states and limits, for one machine.

The SDK's own local server runs a job when its status is asked for and knows no cancel, so it shows
little of what production does. This one drives the SDK's real worker loop.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from talkhead.serve.door import listening
from talkhead.serve.plane import LIMITS, Entry, Plane

WAIT_S = 90.0  # that /runsync waits for an answer
TURN_S = 0.05  # in which the event loop does what it has at hand, as sockets that are to close

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PLANE = web.AppKey("plane", Plane)


def application(plane: Plane) -> web.Application:
    """Return the web application of a plane: what clients call and what workers call."""
    app = web.Application(client_max_size=64 * 2**20, middlewares=[_no_pages, _faulty])
    app[PLANE] = plane
    base = "/v2/{endpoint}"
    app.add_routes(
        [
            web.post(f"{base}/run", _run),
            web.post(f"{base}/runsync", _runsync),
            web.get(f"{base}/status/{{id}}", _status),
            web.post(f"{base}/status/{{id}}", _status),
            web.get(f"{base}/stream/{{id}}", _stream),
            web.post(f"{base}/cancel/{{id}}", _cancel),
            web.post(f"{base}/retry/{{id}}", _retry),
            web.post(f"{base}/purge-queue", _purge),
            web.get(f"{base}/health", _health),
            web.get(f"{base}/job-take/{{worker}}", _take),
            web.get(f"{base}/job-take-batch/{{worker}}", _take_batch),
            web.get(f"{base}/job-stop/{{worker}}", _stop),
            web.post(f"{base}/job-done/{{worker}}/{{id}}", _done),
            web.post(f"{base}/job-stream/{{worker}}/{{id}}", _part),
            web.get(f"{base}/ping/{{worker}}", _ping),
        ]
    )
    return app


@asynccontextmanager
async def serving(plane: Plane, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a plane while inside; yield its base URL. Port 0 takes a free one."""
    # a worker that is gone must not be handed a job by the poll that it left open
    runner = web.AppRunner(
        application(plane), handler_cancellation=True, access_log=None, shutdown_timeout=0.1
    )
    sock = listening(host, port)
    try:
        await runner.setup()
        await web.SockSite(runner, sock).start()
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{bound}/v2/local"
    finally:
        # asyncio never closes a caller who was accepted in the turn before its server is closed
        asyncio.get_running_loop().remove_reader(sock)
        await asyncio.sleep(TURN_S)
        await runner.cleanup()
        await asyncio.sleep(TURN_S)
        sock.close()


def worker_env(base: str, pod: str = "local-worker") -> dict[str, str]:
    """Return the environment with which the SDK's worker loop finds a plane at `base`."""
    return {
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
        "RUNPOD_PING_INTERVAL": "5000",
        "RUNPOD_POD_ID": pod,
        "RUNPOD_AI_API_KEY": "local",
        # they reach for a public address and weigh this machine as if it were a GPU pod
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }


@web.middleware
async def _no_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a web page sends: nothing here asks who is calling."""
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="not for web pages")
    return await handler(request)


@web.middleware
async def _faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let go wrong what is to go wrong with a client's call."""
    name = request.path.split("/")[3] if request.path.count("/") > 2 else ""
    fault = request.app[PLANE].faults.call(name)
    if isinstance(fault, int):
        headers = {"Retry-After": "0.01"} if fault == 429 else {}
        return web.Response(status=fault, text="told to go wrong", headers=headers)
    answer = await handler(request) if fault != "cut" else web.Response()
    if fault is not None and request.transport is not None:
        request.transport.abort()
    return answer


async def _submitted(request: web.Request, kind: str) -> Entry:
    raw = await request.read()
    if len(raw) > LIMITS[kind]:
        raise web.HTTPRequestEntityTooLarge(LIMITS[kind], len(raw))
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise web.HTTPBadRequest(text="the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("input"), dict):
        raise web.HTTPBadRequest(text='the body is an object with an object "input"')
    return await request.app[PLANE].submit(body, kind, body.get("id"))


async def _run(request: web.Request) -> web.Response:
    entry = await _submitted(request, "run")
    return web.json_response({"id": entry.id, "status": entry.status})


async def _runsync(request: web.Request) -> web.Response:
    entry = await _submitted(request, "runsync")
    await request.app[PLANE].ended(entry, float(request.query.get("wait", WAIT_S * 1000)) / 1000)
    return web.json_response(entry.wire())


def _entry(request: web.Request) -> Entry:
    entry = request.app[PLANE].jobs.get(request.match_info["id"])
    if entry is None:
        raise web.HTTPNotFound(text="no such job")
    return entry


async def _status(request: web.Request) -> web.Response:
    return web.json_response(_entry(request).wire())


async def _stream(request: web.Request) -> web.Response:
    entry = _entry(request)
    await request.app[PLANE].said(entry, 1.0)
    parts, entry.stream = entry.stream, []
    return web.json_response({"status": entry.status, "stream": parts})


async def _cancel(request: web.Request) -> web.Response:
    entry = _entry(request)
    await request.app[PLANE].cancel(entry)
    return web.json_response({"id": entry.id, "status": entry.status})


async def _retry(request: web.Request) -> web.Response:
    entry = _entry(request)
    if entry.status not in ("FAILED", "TIMED_OUT"):
        raise web.HTTPBadRequest(text=f"a job that is {entry.status} cannot be retried")
    await request.app[PLANE].requeue(entry)
    return web.json_response({"id": entry.id, "status": entry.status})


async def _purge(request: web.Request) -> web.Response:
    return web.json_response({"removed": await request.app[PLANE].purge(), "status": "completed"})


async def _health(request: web.Request) -> web.Response:
    return web.json_response(request.app[PLANE].counts())


async def _handed(request: web.Request, most: int) -> list[dict[str, Any]]:
    plane, worker = request.app[PLANE], request.match_info["worker"]
    plane.seen[worker] = time.monotonic()
    taken = await plane.take(worker, most)
    if taken and plane.faults.drop_take > 0:
        plane.faults.drop_take -= 1
        for entry in taken:
            plane.note("lost", entry.id, worker)
        if request.transport is not None:
            request.transport.abort()
    return [{"id": entry.id, "input": entry.input, **entry.extras} for entry in taken]


async def _take(request: web.Request) -> web.Response:
    jobs = await _handed(request, 1)
    return web.json_response(jobs[0]) if jobs else web.Response(status=204)


async def _take_batch(request: web.Request) -> web.Response:
    jobs = await _handed(request, int(request.query.get("batch_size", 1)))
    return web.json_response(jobs) if jobs else web.Response(status=204)


async def _stop(request: web.Request) -> web.Response:
    found = await request.app[PLANE].stops(request.match_info["worker"])
    return web.json_response({"jobsToStop": found}) if found else web.Response(status=204)


async def _done(request: web.Request) -> web.Response:
    plane, job_id = request.app[PLANE], request.match_info["id"]
    raw = await request.read()
    body = json.loads(raw)
    if body.get("status") == "IN_PROGRESS" and plane.faults.delay_progress_s:
        await asyncio.sleep(plane.faults.delay_progress_s)  # ends with the sender's connection
    return web.Response(status=await plane.answered(job_id, body, len(raw)))


async def _part(request: web.Request) -> web.Response:
    body = json.loads(await request.read())
    await request.app[PLANE].streamed(request.match_info["id"], body)
    return web.Response(text="ok")


async def _ping(request: web.Request) -> web.Response:
    plane, worker = request.app[PLANE], request.match_info["worker"]
    plane.seen[worker] = time.monotonic()
    plane.note("ping", None, dict(request.query))
    return web.Response(text="ok")
