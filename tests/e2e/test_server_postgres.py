"""`talkhead serve` with its queue in Postgres: the real process on a real database."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.postgres import Cluster, binary, cluster
from support.self_hosted import Served, served
from support.serving import Ground, card

pytestmark = pytest.mark.skipif(binary("postgres") is None, reason="no Postgres is installed")
SLOW = {"engine": "testcard", "options": {"pause": 0.4}}  # seconds for each of five windows


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as database:
        yield database


@pytest.fixture
def server(postgres: Cluster, tmp_path: Path) -> Iterator[Served]:
    queue = {"TALKHEAD_SERVER__QUEUE": postgres.url(f"served_{time.monotonic_ns()}")}
    with served(Ground(tmp_path), "--no-page", **queue) as running:
        yield running


def at_work(server: Served, job: str) -> None:
    """Wait until a first segment is safe."""
    server.until(job, lambda status: (status.get("output") or {}).get("window"))


def refused(server: Served) -> list[tuple[int, Any]]:
    """Return what is answered while the database is away: each with a code, and soon."""
    calls = [
        server.http.get("/health"),
        server.http.get("/status/anything"),
        server.http.post("/run", json={"input": card()}),
    ]
    return [(call.status_code, call.json()["error"]["code"]) for call in calls]


def rendered(server: Served) -> None:
    """Wait until the job that ran is done, which could not be written down."""
    deadline = time.monotonic() + 60
    while not server.events("queue.failed") or len(server.events("job.finished")) < 3:
        assert time.monotonic() < deadline, server.log.read_text()[-3000:]
        time.sleep(0.05)


def test_a_queue_in_postgres_outlives_the_server_and_its_own_restart(
    server: Served, postgres: Cluster
) -> None:
    killed = server.run(card(frames=175, **SLOW))
    later = server.run(card())
    at_work(server, killed)
    server.kill()
    server.start()
    ended = server.end(killed)
    assert ended["status"] == "COMPLETED"
    assert ended["output"]["result"]["segments"]["resumed"] > 0

    running = server.run(card(frames=175, **SLOW))
    waiting = server.run(card())
    at_work(server, running)
    postgres.stop()
    try:
        assert refused(server) == [(503, "E_CAPACITY")] * 3
        rendered(server)
    finally:
        postgres.start()
    for job in (later, killed, running, waiting):
        assert server.end(job)["status"] == "COMPLETED"
    assert server.status(running)["output"]["result"]["segments"]["resumed"] == 0  # it ran on
    assert server.ok(server.http.get("/health"))["jobs"]["completed"] == 4


@pytest.mark.soak  # for the time that CI has
def test_a_server_ends_when_told_though_its_database_is_away(
    server: Served, postgres: Cluster
) -> None:
    job = server.run(card(frames=175, **SLOW))
    at_work(server, job)
    postgres.stop()
    try:
        assert server.stop() == 0
    finally:
        postgres.start()
    server.start()
    assert server.end(job)["status"] == "COMPLETED"
