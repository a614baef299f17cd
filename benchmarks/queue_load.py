"""What the server's queue costs: 500 small jobs and 50 clients that ask ten times a second.

    .venv/bin/python benchmarks/queue_load.py

Claims: an answer about a job within 100 ms at the 99th percentile under that load, nothing lost or
run twice by a kill, next to no processor time while nothing happens. On SQLite, and on a Postgres
of its own where one is installed. Each kind runs in a process of its own.
"""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from _machine import heading

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.postgres import binary, cluster

JOBS, RATE, CLIENTS, RENDER_S = 500, 25.0, 50, 0.02
KILL_JOBS = 60


class Table:
    """The queue with the smallest dispatcher: one thread, woken by a submission."""

    def __init__(self, url: str, log: Path | None = None) -> None:
        from talkhead.serve.queue import Queue, Ticket  # noqa: PLC0415 (part of what is measured)

        self.queue, self.ticket, self.log = Queue.open(url), Ticket, log
        self.recovered = self.queue.recover()
        self.began: dict[str, float] = {}
        self._wake, self._stop = threading.Event(), False
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, key: str, body: dict[str, Any]) -> None:
        """Put a job in and wake the dispatcher."""
        self.queue.submit(self.ticket(key, body), room=10_000)
        self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.clear()
            found = self.queue.claim("render")
            if found is None:
                self._wake.wait()
                continue
            ticket, entry = found
            self.began[ticket.id] = time.perf_counter()
            render(ticket.id, self.log)
            self.queue.finish(ticket.id, entry.attempt, "COMPLETED", {"result": {"id": ticket.id}})

    def close(self) -> None:
        """Let the queue go."""
        self.queue.close()


def render(key: str, log: Path | None) -> None:
    note(log, f"began {key}")
    time.sleep(RENDER_S)
    note(log, f"rendered {key}")


def note(log: Path | None, line: str) -> None:
    if log is not None:
        with log.open("a") as file:
            file.write(f"{line}\n")


async def load(kind: Any) -> dict[str, Any]:
    """Return what 50 clients saw while 500 jobs passed."""
    body = {"input": {"prompt": "x" * 2000}}
    submits: list[float] = []
    answers: list[float] = []
    sent: dict[str, float] = {}
    going_on = True

    async def client() -> None:
        await asyncio.sleep(random.random() / 10)
        while going_on:
            if sent:
                began = time.perf_counter()
                await asyncio.to_thread(kind.queue.entry, random.choice(list(sent)))
                answers.append(time.perf_counter() - began)
            await asyncio.sleep(0.1)

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    cpu, wall = time.process_time(), time.perf_counter()
    for number in range(JOBS):
        key = f"job-{number}"
        began = time.perf_counter()
        sent[key] = began
        await asyncio.to_thread(kind.submit, key, body)
        submits.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, wall + number / RATE - time.perf_counter()))
    while (await asyncio.to_thread(kind.queue.counts))["COMPLETED"] < JOBS:
        assert time.perf_counter() - wall < 300
        await asyncio.sleep(1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    going_on = False
    await asyncio.gather(*clients)
    return {
        "submit ms, p50 / p99": spread(submits),
        "entry ms, p50 / p99": spread(answers),
        "answers": len(answers),
        "jobs per s": round(JOBS / wall, 1),
        "processor, % of a core": round(100 * cpu / wall, 1),
    }


def begin(kind: Any) -> str:
    """Return how long an idle queue takes from a submission to its beginning."""
    waits = []
    for number in range(30):
        began = time.perf_counter()
        kind.submit(f"begin-{number}", {})
        while f"begin-{number}" not in kind.began:
            time.sleep(0.0005)
        waits.append(kind.began[f"begin-{number}"] - began)
        time.sleep(0.11 + random.random() / 10)
    return spread(waits)


def idle() -> float:
    cpu = time.process_time()
    time.sleep(20)
    return round(100 * (time.process_time() - cpu) / 20, 2)


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return (
        f"{1000 * ordered[len(ordered) // 2]:.1f} / {1000 * ordered[int(len(ordered) * 0.99)]:.1f}"
    )


def killed(folder: Path, command: list[str]) -> dict[str, Any]:
    """Return what a kill in the middle of 60 jobs lost or repeated."""
    log = folder / "log"
    log.touch()
    process = subprocess.Popen([*command, "victim", str(log)])
    while sum(line.startswith("rendered") for line in log.read_text().splitlines()) < 20:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    began = time.perf_counter()
    subprocess.run([*command, "heir", str(log)], check=True)
    lines = log.read_text().splitlines()
    keys = [line.split()[1] for line in lines if line.startswith("acknowledged")]
    begins = [line for line in lines if line.startswith("began")]
    renders = [line.split()[1] for line in lines if line.startswith("rendered")]
    return {
        "acknowledged": len(keys),
        "lost": len(set(keys) - set(renders)),
        "begun twice": len(begins) - len(set(begins)),
        "rendered twice": len(renders) - len(set(renders)),
        "s to the end after it": round(time.perf_counter() - began, 1),
    }


def victim(kind: Any, log: Path) -> None:
    for number in range(KILL_JOBS):
        kind.submit(f"kill-{number}", {"input": number})
        note(log, f"acknowledged kill-{number}")
    time.sleep(60)


def heir(kind: Any) -> None:
    until = time.monotonic() + 60
    while (counts := kind.queue.counts())["IN_QUEUE"] + counts["IN_PROGRESS"]:
        assert time.monotonic() < until, counts
        time.sleep(0.05)


def size(kind: Any, url: str) -> float:
    """Return megabytes on disk of 50 finished jobs with bodies of 200 KB."""
    before = on_disk(url)
    for number in range(50):
        kind.submit(f"big-{number}", {"input": os.urandom(100_000).hex()})
    heir(kind)
    return round((on_disk(url) - before) / 1e6, 1)


def on_disk(url: str) -> int:
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))
    import psycopg  # noqa: PLC0415 (where there is a Postgres alone)

    with psycopg.connect(url) as db:
        row = db.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0


def measure(make: Any, url: str, folder: Path, command: list[str]) -> dict[str, Any]:
    """Return all figures of one kind of queue at one place."""
    found: dict[str, Any] = {"kill": killed(folder, command)}
    began = time.perf_counter()
    kind = make(url)
    found["open s"] = round(time.perf_counter() - began, 2)
    time.sleep(2)
    found["MB of memory"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    found["threads"] = threading.active_count()
    found["idle processor, % of a core"] = idle()
    found["submit to begin ms, p50 / p99"] = begin(kind)
    found["MB of 50 x 200 KB"] = size(kind, url)
    found |= asyncio.run(load(kind))
    kind.close()
    return found


def part(make: Any, arguments: list[str]) -> None:
    """Be one of the processes: `measure`, or the two of a kill."""
    url, folder, what, *log = arguments
    if what == "measure":
        began = time.perf_counter()
        found = measure(make, url, Path(folder), [sys.executable, sys.argv[0], url, folder])
        found["whole s"] = round(time.perf_counter() - began)
        print(json.dumps(found))
    else:
        kind = make(url, Path(log[0]))
        victim(kind, Path(log[0])) if what == "victim" else heir(kind)
    sys.stdout.flush()
    os._exit(0)  # threads of a queue under test may still wait for work


def compare(script: str, name: str) -> None:
    """Print the figures on SQLite and on Postgres, each measured by `script`."""

    def run(url: str, folder: str) -> None:
        command = [sys.executable, script, url, folder, "measure"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"{name} on {url.partition(':')[0]}")
        for what, figure in json.loads(out).items():
            print(f"  {what:32}{figure}")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{folder}/queue.db", folder)
    if binary("postgres") is not None:
        with cluster() as server, tempfile.TemporaryDirectory() as folder:
            run(server.url("bench"), folder)


def main() -> None:
    if len(sys.argv) > 1:
        part(Table, sys.argv[1:])
    heading("The server's queue under load")
    compare(__file__, "table")


if __name__ == "__main__":
    main()
