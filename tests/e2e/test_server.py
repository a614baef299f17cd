"""`talkhead serve`: the real process, its queue, its children, and clients on loopback."""

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from support.self_hosted import Served, served
from support.serving import Ground, card
from talkhead.serve.cli import app
from talkhead.serve.client import Client

SLOW = {"engine": "testcard", "options": {"pause": 0.4}}  # seconds for each of five windows


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(Ground(tmp_path_factory.mktemp("server")), "--no-page") as running:
        yield running


def frames_of(data: bytes) -> tuple[int, float]:
    with av.open(io.BytesIO(data)) as container:
        sound = float(container.streams.audio[0].duration * container.streams.audio[0].time_base)
        return sum(1 for _ in container.decode(video=0)), sound


def test_a_job_from_queue_to_file(server: Served) -> None:
    job = server.run(card(frames=175))
    ended = server.end(job)
    assert ended["status"] == "COMPLETED"
    assert ended["delayTime"] >= 0
    assert ended["executionTime"] > 0
    video = ended["output"]["result"]["outputs"][0]
    assert video["url"].startswith("/files/")
    whole = server.http.get(video["url"])
    assert whole.headers["content-type"] == "video/mp4"
    assert len(whole.content) == video["bytes"]
    assert frames_of(whole.content) == (175, pytest.approx(7, abs=0.05))
    part = server.http.get(video["url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])


def test_runsync_waits_and_answers(server: Served) -> None:
    answer = server.ok(server.http.post("/runsync", json={"input": card(dry_run=True)}))
    assert answer["output"]["result"]["plan"]["frames"] == 25
    assert answer["workerId"] == "desk"
    brief = {"input": card(frames=175, **SLOW)}
    early = server.ok(server.http.post("/runsync", json=brief, params={"wait": "1"}))
    assert early["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert server.end(early["id"])["status"] == "COMPLETED"


def test_plans_do_not_wait_behind_renders(server: Served) -> None:
    jobs = [server.run(card(frames=175, **SLOW)) for _ in range(2)]
    began = time.monotonic()
    plan = server.ok(server.http.post("/runsync", json={"input": card(dry_run=True)}))
    assert plan["status"] == "COMPLETED"
    states = [server.status(job)["status"] for job in jobs]
    assert "COMPLETED" not in states or time.monotonic() - began < 1.5
    assert server.status(jobs[1]).get("position", 1) == 1
    for job in jobs:
        server.ok(server.http.post(f"/cancel/{job}"))


def test_progress_as_events_and_the_part_that_is_safe(server: Served) -> None:
    job = server.run(card(frames=175, engine="testcard", options={"pause": 1}))
    server.http.get(f"/partial/{job}")  # the first one waits for libraries, not for the job
    found: list[tuple[str, dict[str, Any]]] = []
    part = None
    with server.http.stream("GET", f"/stream/{job}", headers={"Accept": "text/event-stream"}) as s:
        name = ""
        for line in s.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
                if name == "progress" and found[-1][1].get("window") and part is None:
                    part = server.http.get(f"/partial/{job}")
    assert {"status", "progress", "end"} <= {name for name, _ in found}
    percents = [data["pct"] for name, data in found if name == "progress"]
    assert percents == sorted(percents)
    assert found[-1][1]["status"] == "COMPLETED"
    assert part is not None
    assert part.status_code == 200
    frames, sound = frames_of(part.content)
    assert frames in (80, 160, 175)  # 175: asked when all was made, a moment before the end
    assert sound == pytest.approx(frames / 25, abs=0.05)
    whole = server.http.get(f"/partial/{job}")
    assert (whole.status_code, whole.has_redirect_location) == (303, True)
    assert whole.headers["location"] == found[-1][1]["output"]["result"]["outputs"][0]["url"]


def test_stream_gives_what_is_new(server: Served) -> None:
    job = server.run(card(frames=175, **SLOW))
    seen, status = [], ""
    while status not in ("COMPLETED", "FAILED"):
        answer = server.ok(server.http.get(f"/stream/{job}"))
        status = answer["status"]
        seen += [part["output"]["pct"] for part in answer["stream"]]
    assert status == "COMPLETED"
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_the_same_id_is_the_same_job(server: Served) -> None:
    body = {"input": card()}
    first = server.ok(server.http.put("/run/order-1", json=body))
    assert first["id"] == "order-1"
    assert server.ok(server.http.put("/run/order-1", json=body))["id"] == "order-1"
    other = server.http.put("/run/order-1", json={"input": card(frames=50)})
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "E_INPUT_VALIDATION"
    assert server.end("order-1")["status"] == "COMPLETED"
    assert server.http.put("/run/..%2Fetc", json=body).status_code in (400, 404)


def test_cancel_ends_a_job_at_once_and_frees_its_process(server: Served) -> None:
    job = server.run(card("sleep", frames=175))
    server.until(job, lambda status: status["status"] == "IN_PROGRESS")
    assert server.ok(server.http.post(f"/cancel/{job}"))["status"] == "CANCELLED"
    began = time.monotonic()
    assert server.end(server.run(card()))["status"] == "COMPLETED"
    assert time.monotonic() - began < 20
    assert server.status(job)["status"] == "CANCELLED"


def test_failed_jobs_say_why_and_can_be_retried(server: Served, tmp_path: Path) -> None:
    job = server.run(card("odd", options={"once": str(tmp_path / "x")}))
    ended = server.end(job)
    error = json.loads(ended["error"])
    assert (ended["status"], error["code"]) == ("FAILED", "E_INTERNAL")
    assert server.ok(server.http.post(f"/retry/{job}"))["status"] == "IN_QUEUE"
    assert server.end(job)["status"] == "COMPLETED"
    again = server.http.post(f"/retry/{job}")
    assert again.status_code == 409


def test_errors_that_may_not_come_again_are_tried_again(server: Served, tmp_path: Path) -> None:
    job = server.run(card("killed", options={"once": str(tmp_path / "x")}))
    ended = server.end(job)
    assert ended["status"] == "COMPLETED"
    assert ended["retries"] == 1


def test_a_deadline_ends_a_job(server: Served) -> None:
    job = server.run(card("sleep"), policy={"executionTimeout": 1500})
    ended = server.end(job)
    assert ended["status"] == "TIMED_OUT"
    assert json.loads(ended["error"])["code"] == "E_TIMEOUT"


def test_uploads_are_named_by_requests(server: Served) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (320, 256), (200, 90, 30)).save(picture, "PNG")
    sent = server.http.put("/uploads/me.png", content=picture.getvalue())
    assert sent.status_code == 201
    reference = sent.json()["reference"]
    assert sent.json()["mime"] == "image/png"
    ended = server.end(server.run({**card(), "portrait": reference}))
    assert ended["status"] == "COMPLETED"
    for data, status in ((b"", 400), (b"#EXTM3U\n/etc/passwd", 415), (b"hello", 415)):
        refused = server.http.put("/uploads/x", content=data)
        assert refused.status_code == status, refused.text
        assert refused.json()["error"]["code"].startswith("E_")
    assert not list((server.ground.folder / "server" / "uploads").glob(".*"))


def test_history_shows_jobs_and_forgets_them(server: Served) -> None:
    job = server.run(card())
    server.end(job)
    server.end(server.run(card(dry_run=True)))  # a question, not a job to list
    line = server.ok(server.http.get("/jobs", params={"limit": 5}))["jobs"][0]
    assert (line["id"], line["status"], line["engine"]) == (job, "COMPLETED", "testcard")
    detail = server.ok(server.http.get(f"/jobs/{job}"))
    assert detail["input"]["portrait"] == card()["portrait"]
    assert server.ok(server.http.delete(f"/jobs/{job}"))["deleted"] == 2
    assert server.http.get(line["video"]).status_code == 404
    assert server.http.get(f"/status/{job}").status_code == 404
    assert not (server.ground.store / job).exists()


def test_the_runpod_client_works_with_another_base_url(server: Served) -> None:
    runpod = pytest.importorskip("runpod")
    runpod.api_key = "any"
    before = runpod.endpoint_url_base
    runpod.endpoint_url_base = f"{server.base}/v2"
    try:
        endpoint = runpod.Endpoint("talkhead")
        job = endpoint.run({"input": card()})
        output = job.output(timeout=60)
        assert output["result"]["outputs"][0]["kind"] == "video"
        assert job.status() == "COMPLETED"
        slow = endpoint.run({"input": card(frames=175, **SLOW)})
        assert slow.cancel()["status"] == "CANCELLED"
        assert endpoint.health()["jobs"]["completed"] >= 1
        assert endpoint.run_sync({"input": card(dry_run=True)})["result"]["plan"]["frames"] == 25
        assert endpoint.purge_queue()["status"] == "completed"
    finally:
        runpod.endpoint_url_base = before


def test_metrics_count_what_was_done(server: Served) -> None:
    server.end(server.run(card()))
    text = server.http.get("/metrics").text
    assert 'talkhead_ended_total{code="",lane="render",status="COMPLETED"}' in text
    assert 'route="/status/{id}"' in text
    frames = next(line for line in text.splitlines() if line.startswith("talkhead_frames_total"))
    assert float(frames.split()[1]) >= 25


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """The running job continues from its folder, the waiting one follows."""
    with served(Ground(tmp_path), "--no-page") as server:
        jobs = [server.run(card(frames=175, **SLOW)), server.run(card())]
        server.until(jobs[0], lambda status: status.get("output", {}).get("window", 0) >= 1)
        server.kill()
        server.start()
        first, second = (server.end(job) for job in jobs)
        assert first["status"] == second["status"] == "COMPLETED"
        assert first["output"]["result"]["segments"]["resumed"] >= 1
        assert not list((server.ground.folder / "server" / "parts").glob("*"))


def test_a_server_that_is_told_to_end_puts_its_job_back(tmp_path: Path) -> None:
    with served(Ground(tmp_path), "--no-page") as server:
        job = server.run(card(frames=175, **SLOW))
        server.until(job, lambda status: status.get("output", {}).get("window", 0) >= 1)
        assert server.stop() == 0
        server.start()
        ended = server.end(job)
        assert ended["status"] == "COMPLETED"
        assert "retries" not in ended


def test_a_token_lets_in_those_who_have_it(tmp_path: Path) -> None:
    token = "a-token-of-this-test"
    with served(Ground(tmp_path), "--no-page", TALKHEAD_SERVER__TOKEN=token) as server:
        with httpx.Client(base_url=server.base) as other:
            assert other.get("/health").status_code == 401
            assert other.get("/ping").status_code == 200
            page = other.get("/", headers={"Accept": "text/html"})
            assert page.headers["location"] == "/login"
            assert other.post("/login", data={"token": "wrong"}).status_code == 401
            begun = other.post("/login", data={"token": token})
            assert "HttpOnly" in begun.headers["set-cookie"]
            assert other.get("/health").status_code == 200
        assert server.status(server.run(card(dry_run=True)))["status"]


def test_others_are_kept_out_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="TALKHEAD_SERVER__TOKEN"):
        Served(Ground(tmp_path), "--no-page", "--host", "0.0.0.0")


def test_two_servers_do_not_share_a_queue(server: Served) -> None:
    second = Ground(server.ground.folder / "second", TALKHEAD_JOBS=str(server.ground.jobs))
    with pytest.raises(AssertionError, match="E_CAPACITY"):
        Served(second, "--no-page")


def test_our_own_client_from_upload_to_file(server: Served, tmp_path: Path) -> None:
    with Client(server.base) as client:
        reference = client.upload(server.ground.volume / "portrait.png")
        job = client.run({**card(frames=175, **SLOW), "portrait": reference})["id"]
        seen = list(client.events(job))
        assert {"IN_PROGRESS", "COMPLETED"} <= {body["status"] for body in seen}
        assert any(body.get("output", {}).get("window") for body in seen)
        made = seen[-1]["output"]["result"]["outputs"][0]
        client.download(made["url"], tmp_path / "video.mp4")
        assert (tmp_path / "video.mp4").stat().st_size == made["bytes"]
        assert [line["id"] for line in client.jobs(limit=1)["jobs"]] == [job]
        assert client.capabilities()["engines"][0]["name"] == "draft"


def submit(server: Served, folder: Path, *words: object) -> Any:
    line = ["submit", *map(str, words), "--endpoint", server.base]
    return CliRunner().invoke(app, [*line, "-o", str(folder / "me.mp4")])


def test_submit_uploads_what_is_large_and_names_its_own_job(server: Served, tmp_path: Path) -> None:
    """A recording of 9 MB goes by PUT /uploads; the job by PUT /run/ID, and its place is told."""
    data = bytearray((server.ground.volume / "speech.wav").read_bytes()) + bytes(9_000_000)
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[40:44] = (len(data) - 44).to_bytes(4, "little")
    (tmp_path / "long.wav").write_bytes(data)
    ahead = [server.run(card(frames=175, **SLOW)) for _ in range(2)]
    portrait = server.ground.volume / "portrait.png"
    card_words = ["--size", "320x256", "--set", "max_frames=25", "--engine", "testcard"]
    ended = submit(server, tmp_path, portrait, tmp_path / "long.wav", *card_words)
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "me.mp4").read_bytes()[4:8] == b"ftyp"
    assert "upload      0.0 %  sending long.wav (9.2 MB)" in ended.stderr
    assert "queue       0.0 %  place 2" in ended.stderr
    newest = server.ok(server.http.get("/jobs", params={"limit": 1}))["jobs"][0]
    audio = server.ok(server.http.get(f"/jobs/{newest['id']}"))["input"]["speakers"][0]["audio"]
    assert audio.startswith("volume:")
    for job in ahead:
        server.ok(server.http.post(f"/cancel/{job}"))


def test_files_elsewhere_are_asked_for_at_the_desk(server: Served) -> None:
    asked = {"action": "uploads", "files": [{"name": "a.mp4", "bytes": 9}]}
    answer = server.ok(server.http.post("/runsync", json={"input": asked}))
    assert (answer["status"], answer["workerId"]) == ("FAILED", "desk")
    assert json.loads(answer["error"])["code"] == "E_UNSUPPORTED"
