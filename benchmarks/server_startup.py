"""How long `talkhead serve` takes from being started to its first answer, on a ground of its own.

Claim: GET /health is answered within 2 s. The page loads after that, and rendering processes start
beside it, so both are there in these runs, as they are for users. `waited` is the time in which the
server's first thread could have run and another had the processor: a machine that others use too
shows it, and without it is what a free core would take.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import httpx

from _machine import facts

TALKHEAD = str(Path(sys.executable).with_name("talkhead"))
RUNS = 9
LIMIT_S = 30.0
STEP_S = 0.01  # between two tries
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def waited_s(pid: int) -> float:
    """Return how long a process's first thread has waited for a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def first_answer(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Return once a URL is answered with 200; raise where that takes too long."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        try:
            httpx.get(url, timeout=LIMIT_S, trust_env=False).raise_for_status()
        except httpx.TransportError:
            time.sleep(STEP_S)
        else:
            return
    raise RuntimeError(f"no answer within {LIMIT_S:g} s")


def start(*options: str) -> tuple[float, float, float]:
    """Start a server; return seconds to its first answer: all, processor time, and waited."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        places = {
            "TALKHEAD_ENGINE": "draft",
            "TALKHEAD_JOBS": f"{folder}/jobs",
            "TALKHEAD_STORE": json.dumps({"kind": "local", "root": f"{folder}/store"}),
        }
        began = time.perf_counter()
        server = subprocess.Popen(
            [TALKHEAD, "serve", "--port", str(port), *options],
            env={**os.environ, **places},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            first_answer(f"http://127.0.0.1:{port}/health", server)
            wall = time.perf_counter() - began
            used, waited = processor_s(server.pid), waited_s(server.pid)
        finally:
            server.terminate()
            server.wait(LIMIT_S)
    return wall, used, waited


def measured(*options: str) -> dict[str, object]:
    """Return the figures of several starts, after one that fills the page cache."""
    start(*options)
    runs = [start(*options) for _ in range(RUNS)]
    walls, free = [run[0] for run in runs], [wall - waited for wall, _, waited in runs]
    return {
        "median_s": round(median(walls), 2),
        "max_s": round(max(walls), 2),
        "processor_median_s": round(median(used for _, used, _ in runs), 2),
        "without_waited_median_s": round(median(free), 2),
        "without_waited_max_s": round(max(free), 2),
        "all_s": [round(wall, 2) for wall in walls],
    }


def main() -> None:
    found = facts()
    with_page, without = measured(), measured("--no-page")
    print(json.dumps({**found, "runs": RUNS, "with_page": with_page, "no_page": without}, indent=1))


if __name__ == "__main__":
    main()
