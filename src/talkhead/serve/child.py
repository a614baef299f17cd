"""What runs inside the spawned process: one runtime, one job at a time, answers over a pipe.

    parent -> child   order {id, request, store}    cancel {id}    stop
    child -> parent   ready | failed {error}, then for each order progress*, result | error;
                      with `last` in it the child leaves by itself

A message is one JSON object, so that neither side can be made to run code by the other. The main
thread works; another one listens, so that a cancel arrives while a job runs. Imports are light
here: the parent imports this module too, and stays small.
"""

import ctypes
import faulthandler
import gc
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from talkhead.errors import Code, TalkheadError
from talkhead.report import naming
from talkhead.result import Progress, Result
from talkhead.serve import logs
from talkhead.settings import S3, Settings
from talkhead.validation import parse, validate

if TYPE_CHECKING:
    from talkhead.runtime import Runtime

LOOK_S = 0.5  # between two looks at whether the parent still lives
TERMINATED = 128 + signal.SIGTERM  # our exit status when SIGTERM ended us
ORPHANED = 1
PR_SET_PDEATHSIG = 1

QUESTIONS = ("health", "capabilities")  # actions that are no jobs

Message = dict[str, Any]


def main(pipe: Connection, settings: Settings, parent: int) -> None:
    """Serve orders from the pipe until told to stop or until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent decides
    die_with(parent)
    _volunteer()
    faulthandler.enable(2)  # a crash in native code leaves its stack on stderr
    stream = _own_stdout()
    line = Line(pipe)
    orders = _Orders(pipe, parent)
    signal.signal(signal.SIGTERM, orders.on_sigterm)
    status = 1
    try:
        _serve(line, orders, settings, stream)
        status = 0
    except SystemExit as leaving:  # SIGTERM, or an engine that calls sys.exit
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # no joining of threads and no teardown of devices: either may hang, and nothing needs it
        os._exit(status)


def packed(message: Message) -> bytes:
    """Return a message as it travels; `json.loads` reads it."""
    # three times as fast as escapes for what is not ASCII; lone surrogates are JSON's to allow
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that spawned it ends.

    The listening thread notices as well, but not while native code holds the interpreter's lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(ORPHANED)


def _volunteer() -> None:
    """Be the one whom the kernel kills where memory runs out: the parent can replace us."""
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("500")


def _own_stdout() -> TextIO:
    """Return the real stdout, for log lines; what libraries print there goes to stderr instead."""
    stream = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return stream


class Line:
    """The way out of the child. Any thread may send."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, kind: str, **content: Any) -> None:
        """Send a message; end the process where nobody is left to read it."""
        data = packed({"kind": kind, **content})
        try:
            with self._lock:
                self._pipe.send_bytes(data)
        except OSError:
            os._exit(ORPHANED)


@dataclass(frozen=True, slots=True)
class _Given:
    """An order as it arrived, and what stops it."""

    order: Message
    cancel: threading.Event


class _Orders:
    """The way in: a thread that reads the pipe and notices when the parent is gone."""

    def __init__(self, pipe: Connection, parent: int) -> None:
        self._pipe = pipe
        self._parent = parent
        self._waiting: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
        self._current: tuple[str, threading.Event] | None = None
        self.leaving = False
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def next(self) -> _Given | None:
        """Wait for an order; None is the end."""
        return self._waiting.get()

    def done(self) -> None:
        """Note that nothing runs now."""
        self._current = None

    def on_sigterm(self, _number: int, _frame: object) -> None:
        """End the process, by its own will if it has one.

        The first signal stops the job at its next tick, since a supervisor may send it to the
        whole process group while the parent still wants an answer. A job that was told to stop
        before, and an idle process, leave at once through every `finally` on the way: scratch
        files go, uploads are aborted. Code that never comes back to Python gets SIGKILL next,
        which the job folder bears as well.
        """
        current = self._current
        if current is None or current[1].is_set():
            sys.exit(TERMINATED)
        self.leaving = True
        current[1].set()

    def _listen(self) -> None:
        while True:
            try:
                # not EOF alone: a process that the parent forked may hold the other end open
                while not self._pipe.poll(LOOK_S):
                    if os.getppid() != self._parent:
                        os._exit(ORPHANED)
                self._take(json.loads(self._pipe.recv_bytes()))
            except (EOFError, OSError, ValueError, RecursionError):
                os._exit(ORPHANED)

    def _take(self, message: Message) -> None:
        match message["kind"]:
            case "order":
                cancel = threading.Event()
                self._current = message["id"], cancel
                self._waiting.put(_Given(message, cancel))
            case "cancel":
                current = self._current
                if current is not None and current[0] == message["id"]:
                    current[1].set()
            case "stop":
                self._waiting.put(None)


def _serve(line: Line, orders: _Orders, settings: Settings, stream: TextIO) -> None:
    try:
        with naming(None):
            logs.setup(settings, stream)
            # heavy, and a failure in here has to reach the parent by name
            from talkhead import job  # noqa: PLC0415
            from talkhead.runtime import Runtime  # noqa: PLC0415
            from talkhead.warming import warm_up  # noqa: PLC0415

            runtime = Runtime(settings, serving=True)
            if settings.worker.warm_up:
                seconds = warm_up(runtime, settings.worker.warm_up)
                logs.event("child.warm", seconds=round(seconds, 3))
    except TalkheadError as error:
        logs.failure(error, name="child.failed")
        line.send("failed", error=logs.wire(error))
        return
    gc.collect()
    gc.freeze()  # what lives for ever need not be looked at after each job
    line.send("ready")
    cold = True
    while (given := orders.next()) is not None:
        answer = _answer(given, runtime, job.run, line)
        if _worked(given.order["request"], answer):
            answer.get("result", {})["cold"], cold = cold, False
        del given  # it may hold a file of many megabytes
        orders.done()
        # what an out-of-memory job still holds would harm the next one
        last = orders.leaving or _ran_out(answer)
        line.send(**answer, last=last)
        if last:
            return
        del answer
        _tidy()


def _answer(
    given: _Given, runtime: "Runtime", run: Callable[..., Result], line: Line
) -> dict[str, Any]:
    """Do what an order asks for and return the message that ends it."""
    job_id = given.order["id"]

    def report(progress: Progress) -> None:
        line.send("progress", id=job_id, progress=asdict(progress))

    with ExitStack() as private:
        try:
            with naming(None):
                request = parse(given.order["request"])
                if given.order["store"] is not None:
                    store = validate(S3, given.order["store"], "s3Config")
                    private.enter_context(logs.hiding(store))
                    runtime = runtime.delivering_to(store)
                    private.callback(runtime.shelf().store.close)
                result = run(request, runtime, report, cancel=given.cancel)
                return {"kind": "result", "id": job_id, "result": result.model_dump(mode="json")}
        except TalkheadError as error:
            if error.code is not Code.CANCELLED:
                logs.failure(error, job_id, name="job.traceback")
            return {"kind": "error", "id": job_id, "error": logs.wire(error)}


def _ran_out(answer: Message) -> bool:
    """Return whether a job, or an item of a batch, ran out of memory."""
    items = answer.get("result", {}).get("items", ())
    errors = [answer.get("error"), *(item["error"] for item in items)]
    return any(error["code"] == Code.OOM for error in errors if error)


def _worked(request: Message, answer: Message) -> bool:
    """Return whether an order made the process load what jobs need."""
    if request.get("action") in QUESTIONS or request.get("dry_run"):
        return False
    return answer["kind"] != "result" or not answer["result"]["repeated"]


def _tidy() -> None:
    """Give memory back to the system, so that a worker's size tells of its present job only."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc; 40 draft jobs: 114 MB throughout, without 124 to 148
        libc.malloc_trim(0)
