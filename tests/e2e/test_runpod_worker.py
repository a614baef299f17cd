"""The worker as RunPod runs it: the SDK's own loop against a control plane on loopback.

Lost answers, cancels, crashes and failing stores are in test_worker_soak.py.
"""

import base64
import json
import time
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from typer.testing import CliRunner

from support.harness import SPEECH, frames_digest, read_sound, write_wav
from support.plane import Platform, platform
from support.serving import Ground, Worker, card, working
from talkhead.serve.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = 64 * 1024


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    mapped = json.dumps({"infinitetalk": "testcard"})
    return Ground(tmp_path_factory.mktemp("worker"), TALKHEAD_COMPAT_ENGINES=mapped)


@pytest.fixture(scope="module")
def plane() -> Iterator[Platform]:
    with platform() as running:
        yield running


@pytest.fixture
def alone() -> Iterator[Platform]:
    """Return a control plane whose jobs only the test's own worker can take."""
    with platform() as running:
        yield running
        assert not running.events(None, "late")


@pytest.fixture(scope="module")
def worker(ground: Ground, plane: Platform) -> Iterator[Worker]:
    with working(ground, plane) as running:
        yield running


@pytest.fixture(autouse=True)
def _one_end_each(request: pytest.FixtureRequest) -> Iterator[None]:
    """See that no job of a test got more than one end, or progress after it."""
    yield
    if "plane" in request.fixturenames:
        assert not request.getfixturevalue("plane").events(None, "late")


def error_of(ended: dict[str, Any]) -> dict[str, Any]:
    assert ended["status"] == "FAILED"
    assert "Traceback" not in ended["error"]
    return dict(json.loads(ended["error"]))


def file_of(url: str) -> Path:
    return Path(unquote(urlparse(url).path))


def test_a_good_job(plane: Platform, worker: Worker, ground: Ground) -> None:
    job = plane.run(card())
    ended = plane.end(job)
    assert ended["status"] == "COMPLETED", ended
    result = ended["output"]["result"]
    video = result["outputs"][0]
    assert video["key"] == f"{job}/video.mp4"
    assert frames_digest(file_of(video["url"]))[0] == 25
    assert (ground.store / job / "result.json").exists()
    assert len(json.dumps(ended["output"])) < SMALL
    assert "score" not in result  # members without a value are left out
    assert ground.left() == []


def test_progress_is_in_order_and_over_before_the_answer(plane: Platform, worker: Worker) -> None:
    job = plane.run(card("sleep", deadline_s=2.8))
    assert error_of(plane.end(job))["code"] == "E_TIMEOUT"
    told = plane.events(job, "progress", "done")
    assert [event.kind for event in told][-1] == "done"
    assert len(told) >= 3
    assert all(later.at - sooner.at >= 0.95 for sooner, later in pairwise(told[:-1]))
    shown = [event.details for event in told[:-1]]
    assert [step["pct"] for step in shown] == sorted(step["pct"] for step in shown)
    assert {"stage", "pct", "window", "windows", "step", "steps", "eta_s"} == shown[-1].keys()


def test_progress_that_hangs_holds_nothing_up(plane: Platform, worker: Worker) -> None:
    plane.plane.faults.delay_progress_s = 30
    try:
        job = plane.run(card("sleep", deadline_s=1))
        began = time.monotonic()
        assert error_of(plane.end(job))["code"] == "E_TIMEOUT"
        assert time.monotonic() - began < 5
        assert not plane.events(job, "progress")
    finally:
        plane.plane.faults.delay_progress_s = 0


def test_wrong_input_is_told_as_json(plane: Platform, worker: Worker) -> None:
    error = error_of(plane.ask(card(portrat="x")))
    assert error["code"] == error["error_type"] == "E_INPUT_VALIDATION"
    assert error["fields"] == ["portrat"]
    assert "did you mean 'portrait'" in error["error_message"]
    assert error["retryable"] is False


def test_an_older_payload_is_answered_in_its_shape(plane: Platform, worker: Worker) -> None:
    media = {"image_url": "volume:portrait.png", "wav_url": "volume:speech.wav"}
    ended = plane.ask({**media, "width": 320, "height": 256, "max_frame": 25, "wav_ulr": 1})
    assert ended["status"] == "COMPLETED", ended
    assert base64.b64decode(ended["output"]["video"])[4:8] == b"ftyp"
    result = ended["output"]["result"]
    assert "data" not in result["outputs"][0]  # once is enough
    warnings = result["warnings"]
    unknown = next(notice for notice in warnings if notice["code"] == "W_UNKNOWN")
    assert unknown["field"] == "wav_ulr"
    assert "did you mean 'wav_url'" in unknown["message"]
    refused = plane.ask({"action": "lipsync", "portrait_image": 7, "audio": "a.wav"})
    assert error_of(refused)["code"] == "E_INPUT_VALIDATION"
    assert refused["output"]["status"] == "error"


def test_payloads_at_the_limit(plane: Platform, worker: Worker) -> None:
    error = error_of(plane.ask(card(prompt="x" * 9_000_000)))
    assert error["code"] == "E_INPUT_VALIDATION"
    assert len(json.dumps(error)) < 8000
    huge = {f"key{number}": "x" for number in range(100_000)}
    assert len(json.dumps(plane.ask(huge))) < 20_000


def test_a_key_belongs_to_one_request(plane: Platform, worker: Worker) -> None:
    assert plane.ask(card(idempotency_key="mine"))["status"] == "COMPLETED"
    assert plane.ask(card(idempotency_key="mine"))["output"]["result"]["repeated"] is True
    error = error_of(plane.ask(card(idempotency_key="mine", frames=30)))
    assert error["fields"] == ["idempotency_key"]


def test_ids_that_are_no_keys_are_made_safe(plane: Platform, worker: Worker) -> None:
    ended = plane.ask(card(), id="-é:odd id")
    assert ended["status"] == "COMPLETED", ended
    assert ended["output"]["result"]["job_id"].startswith("job-")


def test_health_and_capabilities(plane: Platform, worker: Worker) -> None:
    health = plane.ask({"action": "health", "self_test": True})["output"]["result"]
    assert health["healthy"] is True
    assert health["seconds"]["render"] > 0
    ability = plane.ask({"action": "capabilities"})["output"]["result"]["ability"]
    assert {"draft", "testcard"} <= {engine["name"] for engine in ability["engines"]}


def test_a_store_of_the_callers_own_needs_leave(plane: Platform, worker: Worker) -> None:
    config = {"endpointUrl": "https://s3.example", "bucketName": "b", "accessId": "i"}
    error = error_of(plane.ask(card(), s3Config={**config, "accessSecret": "s"}))
    assert error["code"] == "E_UNSUPPORTED"
    assert "TALKHEAD_REQUEST_STORE" in error["hint"]


def test_every_example_is_answered(alone: Platform, tmp_path: Path) -> None:
    short = tmp_path / "library"
    short.mkdir()
    speech = read_sound(SPEECH / "librivox_0870.flac")[:16_000]
    write_wav(short / "librivox.flac", speech)  # found before the bundled one, which is longer
    mapped = {**dict.fromkeys(("infinitetalk", "omniavatar", "sonic"), "draft"), "f5": "espeak"}
    ground = Ground(
        tmp_path / "ground",
        TALKHEAD_COMPAT_ENGINES=json.dumps(mapped),
        TALKHEAD_LIBRARY=str(short),
        TALKHEAD_VOLUMES=json.dumps([str(short), str(files("talkhead.assets"))]),
    )
    with working(ground, alone, "examples-1"), working(ground, alone, "examples-2"):
        jobs = {
            file.stem: alone.run(json.loads(file.read_text())["input"])
            for file in sorted(EXAMPLES.glob("*.json"))
        }
        ended = {name: alone.end(job, 90) for name, job in jobs.items()}
    unserved = {"hub-animate", "sonic-portrait", "wan-animate", "workflow"}
    for name, answer in ended.items():
        if name in unserved:
            assert error_of(answer)["code"] in ("E_UNSUPPORTED", "E_PIPELINE_LOAD"), name
            continue
        assert answer["status"] == "COMPLETED", (name, answer)
        result = answer["output"]["result"]
        for each in [end["result"] for end in result.get("items", ())] or [result]:
            made = each["outputs"][0]
            assert file_of(made["url"]).stat().st_size == made["bytes"]
        canonical = name.startswith("canonical")
        assert canonical == (answer["output"].keys() == {"result"}), (name, answer["output"].keys())
    assert ground.left() == []


def interrupted(ground: Ground, how: str) -> dict[str, Any]:
    """Return a payload whose job stops after its first segments, the first time only."""
    mark = str(ground.folder / "first-time")
    return card(how, frames=175, options={"at": 80, "once": mark})


def segments(ground: Ground, job: str) -> int:
    return len(list(ground.jobs.glob(f"{job}/segment-*.mp4")))


def test_sigterm_answers_within_five_seconds_and_another_worker_goes_on(
    alone: Platform, tmp_path: Path
) -> None:
    ground = Ground(tmp_path)
    with working(ground, alone, "term") as worker:
        job = alone.run(interrupted(ground, "sleep"))
        alone.until(lambda: segments(ground, job) >= 1, "a segment")
        began = time.monotonic()
        assert worker.stop() == 0
        ended = time.monotonic() - began
    error = error_of(alone.get(f"status/{job}"))
    assert (error["code"], error["retryable"]) == ("E_CANCELLED", True)
    assert alone.events(job, "done")[0].at - began < 5
    assert ended < 7
    alone.post(f"retry/{job}")
    with working(ground, alone, "next"):
        result = alone.end(job)["output"]["result"]
    assert result["segments"]["resumed"] >= 1
    assert ground.left() == []


def test_no_secret_gets_into_the_log(alone: Platform, tmp_path: Path) -> None:
    hidden = {
        "RUNPOD_AI_API_KEY": "canary-env-platform",
        "AWS_SECRET_ACCESS_KEY": "canary-env-store",
        "HF_TOKEN": "canary-env-hub",
    }
    ground = Ground(tmp_path, TALKHEAD_LOG_LEVEL="debug", TALKHEAD_REQUEST_STORE="true")
    data = "data:audio/wav;base64," + base64.b64encode(b"canary-data" * 40).decode()
    url = "https://files.invalid/a.png?token=canary-query"
    texts = {"prompt": "canary-prompt", "negative_prompt": "canary-negative"}
    voiced = {"text": "canary-text", "voice": "espeak", "sample": url}
    store = {
        "endpointUrl": "https://127.0.0.1:9/",
        "bucketName": "bucket",
        "accessId": "canary-store-id",
        "accessSecret": "canary-store-secret",
    }
    payloads = [
        card(**texts, speakers=[{"audio": data, "transcript": "canary-transcript"}]),
        card(portrait=url, speakers=[voiced]),
        card(**{url: 1, data: 2}),
        {"action": "lipsync", "portrait_image": url, "audio": data},
        {"image_base64": base64.b64encode(b"canary-raw" * 50).decode(), "audio_base64": data},
    ]
    plain = [b"canary", base64.b64encode(b"canary-data" * 40)[:40]]
    plain.append(base64.b64encode(b"canary-raw" * 50)[:40])
    with working(ground, alone, "quiet", **hidden) as worker:
        jobs = [alone.run(payload, webhook=url) for payload in payloads]
        jobs.append(alone.run(card(), s3Config=store))
        ended = [alone.end(job) for job in jobs]
    log = worker.log.read_bytes()
    answers = json.dumps([answer.get("error") for answer in ended]).encode()
    for secret in plain:
        assert secret not in log
        assert secret not in answers
    assert ground.left() == []


def test_a_worker_that_cannot_reach_the_platform_keeps_its_breath(tmp_path: Path) -> None:
    with platform() as alone, working(Ground(tmp_path), alone) as worker:
        alone.down()
        worker.wait_for("log.library")
        before = len(worker.lines())
        time.sleep(2)  # the time is the point here
        assert len(worker.lines()) - before < 15


def test_an_unfit_machine_takes_no_job(alone: Platform, tmp_path: Path) -> None:
    worker = Worker(Ground(tmp_path), alone, "unfit", TALKHEAD_ENGINE="nonsense")
    assert worker.process.wait(60) == 1
    worker.sweep()
    (line,) = worker.lines("fitness.failed")
    assert "nonsense" in json.dumps(line)
    assert not worker.lines("worker.started")
    told = [event.details for event in alone.events(None, "ping") if "check" in event.details]
    assert [(ping["status"], ping["check"]) for ping in told] == [("unhealthy", "engine")]


def test_submit_from_the_command_line(
    plane: Platform, worker: Worker, ground: Ground, tmp_path: Path
) -> None:
    words = [ground.volume / "portrait.png", ground.volume / "speech.wav", "-o", tmp_path / "a.mp4"]
    line = ["submit", *map(str, words), "--endpoint", plane.base, "--size", "320x256", "--json"]
    ended = CliRunner().invoke(app, line)
    assert ended.exit_code == 0, ended.output
    made = json.loads(ended.stdout)["outputs"][0]
    assert (tmp_path / "a.mp4").read_bytes() == file_of(made["url"]).read_bytes()
    assert made["file"] == str(tmp_path / "a.mp4")
