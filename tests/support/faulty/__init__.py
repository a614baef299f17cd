"""A test card that goes wrong on purpose, in every way in which a process can."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from support import testcard
from support.faulty.options import Options
from support.testcard import TestCard
from talkhead.engines import Arrays, Checkpoint, Chunk, Inputs, Plan, Probe, Tick


class UnpicklableError(Exception):
    """An error that cannot travel between processes as it is."""

    def __init__(self) -> None:
        super().__init__("réponse 💥 \udcff")
        self.file = sys.stderr


class Faulty:
    """Implements Engine: the test card up to frame `at`, then `how`."""

    __test__ = False
    spec = replace(TestCard.spec, name="faulty")

    def plan(self, probe: Probe) -> Plan:
        return replace(TestCard().plan(probe), engine="faulty")

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        options: Options = inputs.options
        card = TestCard().prepare(replace(inputs, options=testcard.Options()), plan, tick)
        return {
            **{name: array for name, array in card.items() if name != "warnings"},
            **{name: np.asarray(value) for name, value in options.model_dump().items()},
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk | Checkpoint]:
        how, at, once = str(prepared["how"]), int(prepared["at"]), str(prepared["once"])
        after = str(prepared["after"])
        done = int(state["next"]) if state else 0
        for item in TestCard().generate(prepared, plan, tick, state):
            if done >= at and isinstance(item, Checkpoint) and _first_time(once):
                _wait_for_segment(after)
                FAULTS[how](tick)
            if isinstance(item, Chunk):
                done += len(item.frames)
            yield item


def _first_time(mark: str) -> bool:
    if not mark:
        return True
    first = not Path(mark).exists()
    Path(mark).touch()
    return first


def _wait_for_segment(manifest: str) -> None:
    while manifest and '"segment"' not in Path(manifest).read_text():
        time.sleep(0.002)


def well(tick: Tick) -> None:
    """Go on."""


def sleep(tick: Tick) -> None:
    """Work slowly and politely: asks at every step whether to stop."""
    for step in range(6000):
        tick(step, 6000)
        time.sleep(0.01)


def hang(tick: Tick) -> None:
    """Never ask."""
    while True:
        time.sleep(0.01)


def gil(tick: Tick) -> None:
    """Hang in native code that keeps the interpreter's lock and that no signal wakes."""
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def segfault(tick: Tick) -> None:
    ctypes.string_at(0)


def abort(tick: Tick) -> None:
    os.abort()


def leave(tick: Tick) -> None:
    sys.exit(3)


def killed(tick: Tick) -> None:
    """Be killed by somebody else, as by the kernel for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def memory(tick: Tick) -> None:
    raise MemoryError


def odd(tick: Tick) -> None:
    raise UnpicklableError


def noise(tick: Tick) -> None:
    """Print as careless libraries do, from Python and from below it."""
    print("noise from python")  # noqa: T201
    os.write(1, b"noise from below\n")


def eat(tick: Tick) -> None:
    """Take more memory than a limit allows."""
    hold = [np.ones(2**24, np.uint8) for _ in range(1024)]
    del hold


def chatty(tick: Tick) -> None:
    """Report more than anyone can read."""
    for _ in range(20_000):
        tick(1, 1)


FAULTS = {
    "well": well,
    "sleep": sleep,
    "hang": hang,
    "gil": gil,
    "segfault": segfault,
    "abort": abort,
    "exit": leave,
    "killed": killed,
    "memory": memory,
    "noise": noise,
    "odd": odd,
    "eat": eat,
    "chatty": chatty,
}
