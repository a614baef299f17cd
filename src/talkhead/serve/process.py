"""The parent's end of one rendering process: messages in and out, and the news of its death.

Two threads of its own read and write the pipe, so that neither a slow event loop nor a request of
many megabytes can block the other side. Everything else happens on the event loop that made it.
"""

import asyncio
import atexit
import json
import multiprocessing
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress, Stage
from talkhead.serve import child
from talkhead.settings import Settings

LOOK_S = 1.0  # between two looks at a process whose pipes say nothing
CLOSING_S = 1.0  # for a process that closed its pipe to end
LARGEST = 2**28  # bytes of a message; a result with its files inside has some 20 million

Message = dict[str, Any]

AGAIN = "send the same request again: the job goes on where it stopped"
HINTS = {
    Code.OOM: "ask for a smaller size, or use a machine with more memory",
    Code.CANCELLED: AGAIN,
    Code.CAPACITY: AGAIN,
    Code.GENERATION: AGAIN,
    Code.INTERNAL: "please report this; the log shows more",
}


@dataclass(frozen=True, slots=True)
class Order:
    """One job for the host: the platform's id, a request, the caller's own S3 store if any."""

    id: str
    request: dict[str, Any]
    store: dict[str, Any] | None = None


class Call:
    """One order in the hands of the process. `answer` is its last message."""

    def __init__(self, order: Order, progress: Callable[[Progress], None]) -> None:
        self.id = order.id
        self.key: str | None = order.request.get("idempotency_key")
        self.progress = progress
        self.stage: Stage | None = None  # where the job was when it was last heard of
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()


class Process:
    """A child process, spawned when made. `ready` and `gone` (its exit code) are futures."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[int] = self._loop.create_future()
        self.failure: Message | None = None  # why it could not start
        self.born = time.monotonic()
        self.kills_before = 0  # by the kernel, for memory, when the present order came
        self._call: Call | None = None
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._news_lock = threading.Lock()
        self._news: Message | None = None  # the newest progress that the loop has not seen
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=child.main, args=(theirs, settings, os.getpid()), name="talkhead-child"
        )
        try:
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._parent = os.getpid()
        atexit.register(self._kill_at_exit)
        self._writer = threading.Thread(target=self._write, name="child-writer", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name="child-reader", daemon=True).start()

    def call(self, order: Order, progress: Callable[[Progress], None]) -> Call:
        """Give the process an order; its answer is the returned call's."""
        self._call = Call(order, progress)
        self.kills_before = oom_kills()
        wire = {"id": order.id, "request": order.request, "store": order.store}
        self._outbox.put({"kind": "order", **wire})
        return self._call

    def hush(self) -> None:
        """Pass on no more progress."""
        self._call = None

    def cancel(self, order_id: str) -> None:
        """Ask the order to stop at its next tick."""
        self._outbox.put({"kind": "cancel", "id": order_id})

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still lives."""
        if not self.gone.done() and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it came."""
        await asyncio.wait({self.gone}, timeout=seconds)
        return self.gone.done()

    async def end(self, patience: float) -> None:
        """Tell an idle process to stop and see it gone; after `patience` seconds by force."""
        self._outbox.put({"kind": "stop"})
        if not await self.ends_within(patience):
            self.signal(signal.SIGKILL)
            await asyncio.wait({self.gone})

    def _kill_at_exit(self) -> None:
        # multiprocessing joins its children at exit, and this one waits for our end;
        # in a process that we forked it is not ours to kill
        if os.getpid() == self._parent:
            self._process.kill()

    def _write(self) -> None:
        while (message := self._outbox.get()) is not None:
            try:
                self._pipe.send_bytes(child.packed(message))
            except OSError:  # it is dead, which the reader tells
                return
            except (TypeError, ValueError, RecursionError) as error:
                refused = TalkheadError(Code.INPUT, f"not a JSON request: {error}", "send JSON")
                refusal = {"kind": "error", "error": refused.to_dict(), "last": False}
                self._tell(self._take, refusal)
            del message  # it may be large, and the next one may be long in coming

    def _read(self) -> None:
        while self._speaks():
            try:
                message = json.loads(self._pipe.recv_bytes(LARGEST))
            except (EOFError, OSError, ValueError):  # its end, or something else wrote to the pipe
                break
            if message["kind"] == "progress":
                self._note(message)
            else:
                self._tell(self._take, message)
            del message
        self._tell(self._bury, self._reap())

    def _speaks(self) -> bool:
        """Wait until the pipe has something; return False when the process is dead and empty."""
        while True:
            ready = wait([self._pipe, self._process.sentinel], LOOK_S)
            if self._pipe in ready:
                return True
            # a process that we forked may hold the pipes open, so they alone prove nothing
            if ready or not self._process.is_alive():
                return self._pipe.poll()

    def _reap(self) -> int:
        """Wait for the process, free all that belonged to it, and return its exit code."""
        self._process.join(CLOSING_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        atexit.unregister(self._kill_at_exit)
        self._outbox.put(None)
        with suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # wakes a writer that nobody reads from any more
        self._writer.join()
        self._pipe.close()
        self._process.close()
        return code

    def _tell(self, receive: Callable[..., None], content: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(receive, content)

    def _note(self, message: Message) -> None:
        with self._news_lock:
            waiting, self._news = self._news is not None, message
        if not waiting:
            self._tell(self._pass_on, None)

    def _pass_on(self, _nothing: None) -> None:
        with self._news_lock:
            message, self._news = self._news, None
        call = self._call
        if message is not None and call is not None and call.id == message["id"]:
            progress = Progress(**message["progress"])
            call.stage = progress.stage
            call.progress(progress)

    def _take(self, message: Message) -> None:
        if message["kind"] == "ready":
            self.ready.set_result(None)
        elif message["kind"] == "failed":
            self.failure = message["error"]
        elif (call := self._call) is not None and not call.answer.done():
            call.answer.set_result(message)

    def _bury(self, code: int) -> None:
        self.gone.set_result(code)


def death(process: Process, call: Call) -> TalkheadError:
    """Return the error of a job whose process died under it.

    Retryable where another try, which goes on from the job folder, may well end otherwise: killed
    for memory is E_OOM, killed by whom we do not know E_CAPACITY (this machine lost the job, the
    request is not at fault), crashed E_GENERATION_RUNTIME, told to stop E_CANCELLED. A process
    that left by itself with a status, as by sys.exit in an engine, would do so again: E_INTERNAL.
    """
    code = process.gone.result()
    killed_for_memory = code == -signal.SIGKILL and oom_kills() > process.kills_before
    kind, how = (Code.OOM, "was killed: out of memory") if killed_for_memory else ending(process)
    again = kind is not Code.INTERNAL
    lost = TalkheadError(kind, f"the rendering process {how}", HINTS[kind], retryable=again)
    return located(lost, call)


def located(error: TalkheadError, call: Call) -> TalkheadError:
    """Return the error with what is known of the job that it ended."""
    error.stage = call.stage
    if call.stage not in (None, "fetch", "probe", "plan"):
        error.job_id = call.key  # there is a folder to go on from
    return error


def ending(process: Process) -> tuple[Code, str]:
    """Return what the end of a process means for the job in it, and how it came about."""
    code = process.gone.result()
    if code in (-signal.SIGTERM, child.TERMINATED):
        return Code.CANCELLED, "was told to stop"
    if code == -signal.SIGKILL:
        return Code.CAPACITY, "was killed"
    if code < 0:
        return Code.GENERATION, f"crashed ({signal.Signals(-code).name})"
    return Code.INTERNAL, f"left with status {code}"


def unstarted(process: Process, seconds: float) -> TalkheadError:
    """Return the error of a process that did not become ready."""
    if process.failure is not None:
        why, hint = process.failure["message"], process.failure["hint"]
    elif process.gone.done():
        why, hint = f"it {ending(process)[1]}", "the log shows more"
    else:
        why, hint = f"not ready after {seconds:g} s", "raise TALKHEAD_WORKER__START_S"
    return TalkheadError(Code.WEIGHTS, f"the rendering process did not start: {why}", hint)


def oom_kills(mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how often the kernel killed for memory in our control group; 0 if it does not say."""
    try:
        groups = [line.split(":", 2)[1:] for line in own.read_text().splitlines()]
    except OSError:  # not Linux
        return 0
    for controllers, path in groups:
        if controllers and "memory" not in controllers.split(","):
            continue
        base = mount / "memory" if controllers else mount
        name = "memory.oom_control" if controllers else "memory.events"
        # inside a container the path may be the host's, and our group the root of the mount
        for folder in (base / path.lstrip("/"), base):
            with suppress(OSError, KeyError):
                fields = dict(line.split() for line in (folder / name).read_text().splitlines())
                return int(fields["oom_kill"])
    return 0
