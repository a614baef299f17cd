"""What /run takes and refuses, and where a job goes."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from support.cards import card_settings
from talkhead.serve.server import application, prepared
from talkhead.serve.server.submissions import lane, ticket
from talkhead.settings import Settings
from talkhead.settings.groups import Server

INPUT = {"portrait": "volume:a.png", "speakers": [{"audio": "volume:a.wav"}]}


@pytest.fixture
def caller(tmp_path: Path) -> TestClient:
    """Return a client of a server whose dispatcher does not work: jobs only wait."""
    server = Server(folder=tmp_path / "server", waiting=3)
    app = application(prepared(Settings(**card_settings(tmp_path), server=server)))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"input": []}',
        '{"input": {}, "webhook": "https://a.example"}',
        '{"input": {}, "policy": 3}',
        '{"input": {}, "policy": {"ttl": -1}}',
        '{"input": {}, "policy": {"ttl": true}}',
        '{"input": {}, "policy": {"executionTimeout": 1e300}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_submission_is_refused(caller: TestClient, body: str) -> None:
    for path in ("/run", "/runsync"):
        answer = caller.post(path, content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def test_large_bodies_are_refused(caller: TestClient) -> None:
    answer = caller.post("/run", content=b" " * 10_000_001)
    assert answer.status_code == 413
    assert "uploads" in answer.json()["error"]["hint"]
    unsaid = caller.post("/run", content=(b" " * 10**6 for _ in range(11)))
    assert unsaid.status_code == 413


def test_more_than_may_wait_are_refused(caller: TestClient) -> None:
    answers = [caller.post("/run", json={"input": INPUT}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"]
    assert answers[3].json()["error"]["code"] == "E_CAPACITY"
    positions = [caller.get(f"/status/{a.json()['id']}").json()["position"] for a in answers[:3]]
    assert positions == [1, 2, 3]
    assert caller.post("/purge-queue").json()["removed"] == 3


def test_unknown_jobs_are_not_there(caller: TestClient) -> None:
    for method, path in (
        ("GET", "/status/x"),
        ("GET", "/stream/x"),
        ("GET", "/partial/x"),
        ("GET", "/jobs/x"),
        ("DELETE", "/jobs/x"),
        ("POST", "/cancel/x"),
        ("POST", "/retry/x"),
        ("GET", "/files/x"),
        ("GET", "/files/../../etc/passwd"),
        ("GET", "/files/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/nowhere"),
        ("PATCH", "/run"),
    ):
        answer = caller.request(method, path)
        assert answer.status_code in (404, 405), (path, answer.text)
        assert answer.json()["error"]["code"] == "E_INPUT_VALIDATION"


def test_a_waiting_job_can_be_cancelled_and_not_forgotten(caller: TestClient) -> None:
    job = caller.post("/run", json={"input": INPUT}).json()["id"]
    assert caller.delete(f"/jobs/{job}").status_code == 409
    assert caller.post(f"/cancel/{job}").json()["status"] == "CANCELLED"
    assert caller.post(f"/retry/{job}").json()["status"] == "IN_QUEUE"
    assert caller.post(f"/retry/{job}").status_code == 409


def test_the_history_is_read_page_by_page(caller: TestClient) -> None:
    sent = [caller.post("/run", json={"input": INPUT}).json()["id"] for _ in range(3)]
    first = caller.get("/jobs?limit=2").json()
    second = caller.get("/jobs", params={"limit": 2, "before": first["next"]}).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == sent[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=501", "status=DONE", "before=1.5", "before=-1"]
)
def test_lists_are_asked_for_in_earnest(caller: TestClient, query: str) -> None:
    assert caller.get(f"/jobs?{query}").status_code == 400


@pytest.mark.parametrize(
    ("payload", "gpus", "default", "wanted"),
    [
        (INPUT, True, "infinitetalk", "render"),
        (INPUT, False, "draft", "render"),
        (INPUT, True, "draft", "desk"),
        ({**INPUT, "engine": "draft"}, True, "infinitetalk", "desk"),
        ({**INPUT, "dry_run": True}, True, "infinitetalk", "desk"),
        ({"action": "batch", "items": [INPUT]}, True, "draft", "render"),
        ({"action": "batch", "items": [INPUT], "dry_run": True}, True, "draft", "desk"),
        ({"action": "speak", "text": "a"}, False, "draft", "desk"),
        ({"action": "capabilities"}, True, "draft", "desk"),
        ({"action": 7, "dry_run": "yes", "engine": []}, True, "infinitetalk", "render"),
    ],
)
def test_what_is_quick_goes_to_the_desk(
    payload: dict[str, Any], gpus: bool, default: str, wanted: str
) -> None:
    assert lane(payload, gpus=gpus, default=default) == wanted


def test_priorities_come_from_request_and_policy() -> None:
    def priority(value: object, **policy: object) -> int:
        body = {"input": {**INPUT, "priority": value}, "policy": policy}
        return ticket(body, None, gpus=False, default="draft").priority

    assert [priority(value) for value in (7, "7", None, True, 10**9, -(10**9))] == [
        7,
        0,
        0,
        0,
        100,
        -100,
    ]
    assert priority(0, lowPriority=True) < 0
