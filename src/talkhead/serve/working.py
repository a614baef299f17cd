"""`talkhead worker`: on RunPod, or on this machine behind a control plane of our own."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from talkhead import registry, settings
from talkhead.errors import EXIT_CODES, Code, TalkheadError
from talkhead.serve import fitness, logs
from talkhead.serve.console import as_json
from talkhead.serve.replies import answer_of
from talkhead.settings import Settings

STOP_S = 15.0  # for a worker of our own to end, then SIGKILL
LINE_BYTES = 2**24  # of its log
AGAIN, AGAIN_S = 3, 60.0  # so often, in so many seconds, a worker that was killed is started again
UNFIT = ("fitness.failed", "child.failed")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a local control plane listens; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(slots=True)
class Started:
    """A worker of our own."""

    process: Process
    log: "asyncio.Task[None]"
    reasons: list[dict[str, Any]]  # what it said about being unfit


def work(*, tied: bool) -> None:
    """Take jobs from RunPod's queue until told to end.

    `tied` is for a worker that this program started itself: it ends with its starter, and its
    results may stay on this machine.
    """
    found = settings.load(aliases=True)
    fitness.refuse_unknown_families(found)
    logs.setup(found)
    registry.need("runpod")
    if not settings.on_runpod():
        raise TalkheadError(
            Code.UNSUPPORTED,
            "this is not a RunPod worker: RUNPOD_WEBHOOK_GET_JOB is not set",
            "on your own machine use `talkhead worker --serve` or `--test-input FILE`",
        )
    if not tied:
        fitness.refuse_unfinished_settings(found)
    _pull(found)
    from talkhead.serve import runpod  # noqa: PLC0415 (the SDK takes two seconds to import)

    runpod.serve(found, tied=tied)


def serve(place: Place) -> None:
    """Serve RunPod's paths on this machine, with a real worker behind them, until Ctrl-C."""
    registry.need("runpod")
    asyncio.run(_serve(place))


def try_out(file: Path) -> int:
    """Run the job in a JSON file (`-` is stdin) as RunPod would; return the exit status.

    Progress goes to stderr, the answer to stdout.
    """
    registry.need("runpod")
    body = _body(file)
    return asyncio.run(_try_out(body))


async def _serve(place: Place) -> None:
    stop = _told_to_stop()
    began: list[float] = []
    async with _platform(place) as (base, plane, start):
        _say(f"RunPod's paths on {base}: POST /run, GET /status/ID, …; Ctrl-C ends it")
        if place.host not in LOOPBACK:
            _say(f"note: {place.host} may be reached from outside, and nobody is asked for a key")
        while True:
            async with start() as worker:
                if not await _either(_ended(worker.process), stop):
                    return
                now = time.monotonic()
                began = [at for at in began if now - at < AGAIN_S]
                gone = await _worker_gone(worker)
                if (worker.process.returncode or 0) >= 0 or len(began) == AGAIN:
                    raise gone
            began.append(now)
            _say(f"{gone.message}; it is started again")
            await plane.worker_lost()


async def _try_out(body: dict[str, Any]) -> int:
    stop = _told_to_stop()
    async with _platform(Place()) as (_, plane, start), start() as worker:
        entry = await plane.submit(body, "run", body.get("id"))
        gone = asyncio.ensure_future(_ended(worker.process))
        shown: object = None
        while not await plane.ended(entry, 0.2) and not gone.done() and not stop.is_set():
            if entry.output != shown and (shown := entry.output):
                _say(_progress_line(entry.output))
        if entry.status not in ("COMPLETED", "FAILED") and not stop.is_set():
            raise await _worker_gone(worker)
        gone.cancel()
    if entry.status not in ("COMPLETED", "FAILED") or stop.is_set():
        _say(_how_to_go_on(entry.input, entry.id))
        return EXIT_CODES[Code.CANCELLED]
    as_json(_answer(entry.output, entry.error))
    return _status(entry.error)


def _told_to_stop() -> asyncio.Event:
    """Return an event that Ctrl-C or SIGTERM sets."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _either(work: Coroutine[Any, Any, int], stop: asyncio.Event) -> bool:
    """Wait for work or for stop; return whether the work ended and nobody said stop."""
    waits = {asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return not stop.is_set()


def _how_to_go_on(request: dict[str, Any], job_id: str) -> str:
    if key := request.get("idempotency_key"):
        return f"stopped; the same request, with its idempotency_key {key!r}, goes on from there"
    body = f'{{"id": "{job_id}", "input": …}}'
    return f"stopped; the same request as {body} goes on from there"


@asynccontextmanager
async def _platform(place: Place) -> AsyncIterator[tuple[str, Any, Callable[[], Any]]]:
    """Serve a control plane while inside; yield its URL, it, and what starts a worker for it."""
    from talkhead.serve.localhost import serving, worker_env  # noqa: PLC0415 (aiohttp is heavy)
    from talkhead.serve.plane import Plane  # noqa: PLC0415

    plane, more, found = Plane(), {}, settings.load(aliases=True)
    fitness.refuse_unknown_families(found)
    if found.engine == "auto":
        more["TALKHEAD_ENGINE"] = "draft"
        _say("note: TALKHEAD_ENGINE is not set; here `engine: auto` is the draft engine")
    async with serving(plane, place.host, place.port) as base:
        yield base, plane, partial(_started, {**worker_env(base), **more})


@asynccontextmanager
async def _started(more: dict[str, str]) -> AsyncIterator[Started]:
    """Run a worker while inside; its log goes to stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "talkhead", "worker", "--tied"),
        env=settings.environment(more),
        stdin=PIPE,  # its end is what the worker goes by when this process dies
        stdout=PIPE,
        limit=LINE_BYTES,
        start_new_session=True,  # Ctrl-C is for us; the worker is told in good order
    )
    reasons: list[dict[str, Any]] = []
    log = asyncio.ensure_future(_relay(process, reasons))
    try:
        yield Started(process, log, reasons)
    finally:
        await _end(process)
        await asyncio.wait({log}, timeout=1)
        log.cancel()


async def _relay(worker: Process, reasons: list[dict[str, Any]]) -> None:
    """Pass a worker's log on to stderr, and keep why it is unfit."""
    assert worker.stdout is not None  # noqa: S101 (a pipe, see _started)
    async for line in worker.stdout:
        text = line.decode(errors="replace")
        _say(text.rstrip("\n"))
        if any(f'"{name}"' in text for name in UNFIT):
            with suppress(ValueError, TypeError, KeyError):
                reasons.append(dict(json.loads(text)["details"]["error"]))


async def _ended(worker: Process) -> int:
    """Wait for the process alone: `wait` also waits for pipes that its heartbeat may hold open."""
    while worker.returncode is None:
        await asyncio.sleep(0.1)
    return worker.returncode


async def _end(worker: Process) -> None:
    if worker.stdin is not None:
        worker.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(_ended(worker), STOP_S)
    with suppress(ProcessLookupError):  # what is left of its group, such as the SDK's heartbeat
        os.killpg(worker.pid, signal.SIGKILL)
    await worker.wait()


async def _worker_gone(worker: Started) -> TalkheadError:
    """Return the error of a worker that ended, with what it said last about why."""
    await asyncio.wait({worker.log}, timeout=1)  # its child may keep the pipe open
    said: dict[str, Any] = worker.reasons[-1] if worker.reasons else {}
    status = worker.process.returncode
    return TalkheadError(
        Code.CAPACITY,
        f"the worker ended by itself with status {status}"
        + (f": {said['message']}" if said.get("message") else ""),
        str(said.get("hint") or "its last lines above say why"),
    )


def _body(file: Path) -> dict[str, Any]:
    """Return a request as RunPod takes it: {"input": …} or the input alone."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        found = json.loads(text)
    except OSError as error:
        raise _bad(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise _bad(f"{file} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _bad(f"{file} does not hold a JSON object")
    return found if isinstance(found.get("input"), dict) else {"input": found}


def _bad(message: str) -> TalkheadError:
    return TalkheadError(
        Code.INPUT, f"--test-input: {message}", 'a request, or {"input": a request}'
    )


def _answer(output: Any, error: str | None) -> dict[str, Any]:
    if error is None:
        return dict(answer_of({"output": output}))
    return {**(output if isinstance(output, dict) else {}), "error": _told(error)}


def _told(error: str) -> Any:
    try:
        return json.loads(error)
    except ValueError:  # the SDK's own words
        return error


def _status(error: str | None) -> int:
    if error is None:
        return 0
    told = _told(error)
    code = told.get("code") if isinstance(told, dict) else None
    return EXIT_CODES[Code(code)] if code in list(Code) else EXIT_CODES[Code.INTERNAL]


def _progress_line(output: Any) -> str:
    parts = [f"{output['stage']:<9} {output['pct']:5.1f} %"]
    if "windows" in output:
        parts.append(f"segment {output['window']}/{output['windows']}")
    if "eta_s" in output:
        parts.append(f"{output['eta_s']:.0f} s left")
    return "  ".join(parts)


def _pull(found: Settings) -> None:
    """Fetch the weights that the operator wants to have before work begins."""
    if found.worker.pull:
        from talkhead.serve import weighing  # noqa: PLC0415 (seldom wanted)
        from talkhead.serve.local import stop_on_signal  # noqa: PLC0415

        with stop_on_signal() as cancel:
            weighing.first(found, logs.event, cancel)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
