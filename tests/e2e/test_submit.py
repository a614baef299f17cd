"""`talkhead submit` and the clients against the emulated platform, jobs done in this process."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from support.cards import CARDS, plain_portrait, seven_seconds
from support.fake_s3 import FakeS3
from support.fake_supabase import FakeSupabase
from support.plane import Platform, platform
from support.stub_worker import Stub, stub_worker
from talkhead import AsyncClient, Client
from talkhead.serve.cli import app
from talkhead.settings import Settings

SECRET = "rpa-canary-of-tests"
Words = list[object]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with portrait.png and speech.wav."""
    folder = tmp_path_factory.mktemp("submit")
    plain_portrait(folder)
    seven_seconds(folder)
    return folder


@pytest.fixture(scope="module")
def plane(ground: Path) -> Iterator[Platform]:
    with platform(hold_s=0.05) as running:
        yield running


def settings_of(ground: Path, **more: Any) -> Settings:
    return Settings(
        engine="testcard",
        engines=CARDS,
        jobs=ground / "worker-jobs",
        **{"store": {"root": ground / "store"}, **more},
    )


@pytest.fixture
def worker(plane: Platform, ground: Path) -> Iterator[Stub]:
    plane.plane.faults.calls.clear()
    with stub_worker(plane, settings_of(ground)) as stub:
        yield stub


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder of one's own, and let no pause last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("talkhead.serve.client.sync.sleep", lambda _: threading.Event().wait(0.01))
    monkeypatch.setenv("TALKHEAD_ENDPOINT__KEY", SECRET)
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    return tmp_path


def submit(plane: Platform, *words: object, url: str | None = None) -> Result:
    line = ["submit", *map(str, words), "--endpoint", url or plane.base]
    return CliRunner().invoke(app, line)


def talk(ground: Path, *more: object) -> Words:
    card = ["--size", "320x256", "--set", "max_frames=25", "--seed", "1"]
    return [ground / "portrait.png", ground / "speech.wav", *card, *more]


def submitted(plane: Platform, since: int) -> list[str]:
    return [event.job for event in plane.events(None, "submit")[since:] if event.job]


def count(plane: Platform) -> int:
    return len(plane.events(None, "submit"))


def test_from_queue_to_file(plane: Platform, worker: Stub, ground: Path, here: Path) -> None:
    ended = submit(plane, *talk(ground, "-o", "me.mp4", "--thumbnail"))
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout.startswith("me.mp4  320x256, 1.00 s")
    assert "testcard engine" in ended.stdout
    stages = [line.split()[0] for line in ended.stderr.splitlines()]
    assert stages[0] == "send"
    assert {"render", "download"} <= set(stages)
    assert "40.0 %  segment 2/3, 9 s left" in ended.stderr
    assert sorted(file.name for file in here.iterdir()) == ["me.mp4", "me.thumbnail.jpg"]
    assert (here / "me.mp4").read_bytes()[4:8] == b"ftyp"
    request = worker.runs[-1]
    assert request["portrait"].startswith("data:application/octet-stream;base64,")
    assert request["idempotency_key"].startswith("submit-")
    assert SECRET not in ended.output


def test_json_is_the_result_and_nothing_else(
    plane: Platform, worker: Stub, ground: Path, here: Path
) -> None:
    ended = submit(plane, *talk(ground, "-o", "me.mp4", "--json", "--set", "output.inline=true"))
    assert ended.exit_code == 0, ended.stderr
    assert ended.stderr == ""
    result = json.loads(ended.stdout)
    assert result["engine"] == "testcard"
    video = result["outputs"][0]
    assert (video["file"], video["bytes"]) == ("me.mp4", (here / "me.mp4").stat().st_size)
    assert "data" not in video
    plan = submit(plane, *talk(ground, "--set", "dry_run=true", "--json"))
    assert json.loads(plan.stdout)["plan"]["frames"] == 25
    shown = submit(plane, *talk(ground, "--set", "dry_run=true"))
    assert "25 frames" in shown.stdout
    assert sorted(file.name for file in here.iterdir()) == ["me.mp4"]


def test_cut_connections_and_a_busy_endpoint_are_survived(
    plane: Platform, worker: Stub, ground: Path, here: Path
) -> None:
    before = count(plane)
    plane.plane.faults.calls += [
        ("run", 429), ("run", "cut"), ("run", 502),
        ("status", "cut"), ("status", 503), ("status", "lost"), ("status", 429),
    ]  # fmt: skip
    ended = submit(plane, *talk(ground, "-o", "me.mp4"))
    assert ended.exit_code == 0, ended.stderr
    assert plane.plane.faults.calls == []
    assert len(submitted(plane, before)) == 1
    assert "the server has too much to do; again in" in ended.stderr
    assert (here / "me.mp4").exists()


def test_a_lost_answer_to_run_renders_once(
    plane: Platform, worker: Stub, ground: Path, here: Path
) -> None:
    before, runs = count(plane), len(worker.runs)
    plane.plane.faults.calls += [("run", "lost")]
    ended = submit(plane, *talk(ground, "-o", "me.mp4", "--json"))
    assert ended.exit_code == 0, ended.stderr
    assert len(submitted(plane, before)) == 2  # the platform lists both
    assert json.loads(ended.stdout)["repeated"] is True
    keys = {run["idempotency_key"] for run in worker.runs[runs:]}
    assert len(keys) == 1


def test_what_has_no_key_is_sent_once(plane: Platform, worker: Stub, here: Path) -> None:
    (here / "old.json").write_text(json.dumps({"input": {"action": "tts", "text": "Hello"}}))
    before = count(plane)
    plane.plane.faults.calls += [("run", "lost")]
    ended = submit(plane, "--request", "old.json")
    assert ended.exit_code == 4
    assert "E_CAPACITY" in ended.stderr
    assert len(submitted(plane, before)) == 1


def test_a_failure_is_told_as_at_home(
    plane: Platform, worker: Stub, ground: Path, here: Path
) -> None:
    ended = submit(plane, *talk(ground, "--engine", "nonsense", "-o", "me.mp4"))
    assert ended.exit_code == 2
    assert "E_INPUT_VALIDATION unknown engine 'nonsense'" in ended.stderr
    assert "→ available: " in ended.stderr
    told = submit(plane, *talk(ground, "--engine", "nonsense", "--json"))
    assert json.loads(told.stdout)["error"]["fields"] == ["engine"]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("status", "code", "exit_code"), [
    ("CANCELLED", "E_CANCELLED", 130), ("TIMED_OUT", "E_TIMEOUT", 4),
])  # fmt: skip
def test_other_ends(
    plane: Platform, ground: Path, here: Path, status: str, code: str, exit_code: int
) -> None:
    before = count(plane)

    def end() -> None:
        plane.until(lambda: count(plane) > before, "a job")
        entry = plane.plane.jobs[submitted(plane, before)[0]]
        asyncio.run_coroutine_threadsafe(plane.plane._end(entry, status), plane.loop).result(5)

    thread = threading.Thread(target=end)
    thread.start()
    ended = submit(plane, *talk(ground, "-o", "me.mp4"))
    thread.join()
    assert (ended.exit_code, code in ended.stderr) == (exit_code, True), ended.output
    assert list(here.iterdir()) == []


def test_detach_and_watch(plane: Platform, worker: Stub, ground: Path, here: Path) -> None:
    worker.gate.clear()
    ended = submit(plane, *talk(ground, "--detach", "-o", "me.mp4"))
    assert ended.exit_code == 0, ended.stderr
    job = ended.stdout.strip()
    assert plane.plane.jobs[job].status in ("IN_QUEUE", "IN_PROGRESS")
    command = f"talkhead submit --watch {job} --endpoint {plane.base} -o me.mp4"
    assert command in ended.stderr
    assert json.loads(submit(plane, *talk(ground, "--detach", "--json")).stdout).keys() == {"id"}
    worker.gate.set()
    watched = submit(plane, "--watch", job, "-o", "me.mp4")
    assert watched.exit_code == 0, watched.stderr
    again = submit(plane, "--watch", job)  # named after the job
    assert again.exit_code == 0, again.stderr
    assert sorted(file.name for file in here.iterdir()) == sorted([f"{job}.mp4", "me.mp4"])
    refused = submit(plane, "--watch", job, "-o", "me.mp4")
    assert (refused.exit_code, "exists already" in refused.stderr) == (2, True)
    assert submit(plane, "--watch", job, "-o", "me.mp4", "--force").exit_code == 0
    both = submit(plane, "--watch", job, *talk(ground))
    assert (both.exit_code, "--watch goes without a request" in both.stderr) == (2, True)
    gone = submit(plane, "--watch", "no-such-job")
    assert (gone.exit_code, "does not know it" in gone.stderr) == (2, True)


@pytest.mark.parametrize("cancels", [False, True])
def test_interrupted(
    plane: Platform, worker: Stub, ground: Path, here: Path, cancels: bool
) -> None:
    worker.gate.clear()
    before = count(plane)
    words = ["--endpoint", plane.base, *map(str, talk(ground, "-o", "me.mp4"))]
    process = subprocess.Popen(
        [sys.executable, "-m", "talkhead", "submit", *words]
        + (["--cancel-on-interrupt"] if cancels else []),
        stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("render"):
            break
    process.send_signal(signal.SIGTERM if cancels else signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 130
    job = submitted(plane, before)[0]
    if cancels:
        assert f"job {job} is cancelled" in said
        assert plane.plane.jobs[job].status == "CANCELLED"
    else:
        assert f"talkhead submit --watch {job} --endpoint {plane.base} -o me.mp4" in said
        assert plane.plane.jobs[job].status == "IN_PROGRESS"
    assert SECRET not in said
    assert list(here.iterdir()) == []


def test_refused_before_anything_is_sent(
    plane: Platform, ground: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = count(plane)
    (here / "there.mp4").write_bytes(b"mine")
    for words, reason in (
        (talk(ground, "-o", "there.mp4"), "exists already"),
        (talk(ground, "-o", "a.gif"), ".mp4 files"),
        (talk(ground, "-o", "nowhere/a.mp4"), "cannot write"),
        ([here / "gone.png", ground / "speech.wav"], "portrait: cannot read gone.png"),
        ([ground / "portrait.png"], "no speech was given"),
    ):
        ended = submit(plane, *words)
        assert ended.exit_code in (2, 5), ended.output
        assert reason in " ".join(ended.stderr.split())
    for url, reason in (
        ("ftp://host/x", "not a plain URL"),
        ("https://key@host/x", "not a plain URL"),
        ("https://host/x?key=1", "not a plain URL"),
        ("host/x", "not a plain URL"),
    ):
        assert reason in submit(plane, *talk(ground), url=url).stderr
    monkeypatch.delenv("TALKHEAD_ENDPOINT__KEY")
    told = submit(plane, *talk(ground), url="https://api.runpod.ai/v2/abc")
    assert "RunPod wants a key" in told.stderr
    assert count(plane) == before
    assert (here / "there.mp4").read_bytes() == b"mine"
    assert [file.name for file in here.iterdir()] == ["there.mp4"]


def older(ground: Path) -> dict[str, Any]:
    """Return a payload of the hub family, with its files inside and a video expected inside."""
    coded = {
        name: base64.b64encode((ground / file).read_bytes()).decode()
        for name, file in (("image_base64", "portrait.png"), ("wav_base64", "speech.wav"))
    }
    return {"input_type": "image", "person_count": "single", **coded, "width": 320, "height": 256,
            "max_frame": 25, "prompt": "hello"}  # fmt: skip


def test_an_older_payload_travels_as_it_is(plane: Platform, ground: Path, here: Path) -> None:
    payload = older(ground)
    (here / "old.json").write_text(json.dumps({"input": payload, "policy": {"ttl": 60_000}}))
    seen: list[Any] = []

    def note(entry: Any) -> None:
        seen.append(entry.input)

    settings = settings_of(ground, compat_engines={"infinitetalk": "testcard"})
    with stub_worker(plane, settings, note):
        ended = submit(plane, "--request", "old.json", "-o", "old.mp4")
    assert ended.exit_code == 0, ended.output
    assert seen == [payload]
    assert (here / "old.mp4").read_bytes()[4:8] == b"ftyp"


def test_foreign_answers(plane: Platform, ground: Path, here: Path) -> None:
    video = {"kind": "video", "key": "x/v.mp4", "mime": "video/mp4", "bytes": 5, "sha256": "0" * 64}
    coded = base64.b64encode(b"video").decode()
    for outputs, reason, status in (
        ([video], "no link came with it: x/v.mp4", 3),
        ([{**video, "data": coded}], "not the one in the result", 2),
        ([{**video, "url": f"data:video/mp4;base64,{coded}x"}], "broken base64", 2),
        ([{**video, "url": "http://127.0.0.1:9/v.mp4"}], "cannot be reached", 4),
    ):
        answer = {"output": {"result": {"action": "talk", "version": "9", "outputs": outputs}}}
        with stub_worker(plane, settings_of(ground), lambda _, answer=answer: answer):
            ended = submit(plane, *talk(ground, "-o", "me.mp4"))
        assert (ended.exit_code, reason in ended.stderr) == (status, True), ended.output
        assert list(here.iterdir()) == []
    newer = {"action": "talk", "version": "9", "new": 1, "outputs": [
        {**video, "sha256": None, "data": coded, "new": 2},
        {**video, "sha256": None, "data": coded},
    ]}  # fmt: skip
    with stub_worker(plane, settings_of(ground), lambda _: {"output": {"result": newer}}):
        ended = submit(plane, *talk(ground, "-o", "me.mp4"))
    assert ended.exit_code == 0, ended.output
    assert sorted(file.name for file in here.iterdir()) == ["me-2.mp4", "me.mp4"]


@pytest.fixture(scope="module")
def long_speech(ground: Path) -> Path:
    """Return a recording of over 10 MB as base64: silence behind the words."""
    file = ground / "long.wav"
    data = bytearray((ground / "speech.wav").read_bytes())
    data += bytes(8_000_000)
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[40:44] = (len(data) - 44).to_bytes(4, "little")
    file.write_bytes(data)
    return file


def long_talk(ground: Path, long_speech: Path, *more: object) -> Words:
    return [ground / "portrait.png", long_speech, *talk(ground)[2:], "-o", "me.mp4", *more]


def s3_of(fake: FakeS3, **more: Any) -> dict[str, Any]:
    return {
        "kind": "s3", "bucket": fake.bucket, "endpoint": fake.url,
        "access_key": fake.access_key, "secret_key": fake.secret_key, **more,
    }  # fmt: skip


def supabase_of(fake: FakeSupabase) -> dict[str, Any]:
    return {"kind": "supabase", "url": fake.url, "key": fake.key, "bucket": fake.bucket}


@pytest.mark.parametrize("kind", ["s3", "supabase"])
def test_a_large_file_goes_where_the_endpoint_says(
    plane: Platform, ground: Path, long_speech: Path, here: Path, kind: str
) -> None:
    with FakeS3() if kind == "s3" else FakeSupabase() as fake:
        store = s3_of(fake, prefix="team") if kind == "s3" else supabase_of(fake)
        settings = settings_of(ground, store=store)
        before = count(plane)
        with stub_worker(plane, settings) as stub:
            ended = submit(plane, *long_talk(ground, long_speech))
        assert ended.exit_code == 0, ended.output
        assert len(submitted(plane, before)) == 2
        reference = stub.runs[-1]["speakers"][0]["audio"]
        front = "store:team/uploads/" if kind == "s3" else "store:uploads/"
        assert reference.startswith(front)
        assert reference.endswith("/long.wav")
        assert stub.runs[-1]["portrait"].startswith("data:")
        assert reference.removeprefix("store:") in fake.objects
        assert (here / "me.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize("kind", ["s3", "supabase"])
def test_a_large_file_goes_into_the_users_own_store(
    plane: Platform, ground: Path, long_speech: Path, here: Path, kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with FakeS3() if kind == "s3" else FakeSupabase() as fake:
        store = s3_of(fake) if kind == "s3" else supabase_of(fake)
        fetch = {"http": True, "private_hosts": ["127.0.0.1"]}
        theirs = settings_of(ground, fetch=fetch)
        monkeypatch.setenv("TALKHEAD_STORE", json.dumps(store))
        with stub_worker(plane, theirs) as stub:
            for _ in range(2):
                ended = submit(plane, *long_talk(ground, long_speech, "--force"))
                assert ended.exit_code == 0, ended.output
        reference = stub.runs[-1]["speakers"][0]["audio"]
        assert reference.startswith(f"{fake.url}/")
        (key,) = fake.objects  # put there once
        assert key.startswith("uploads/")
        assert key.endswith("/long.wav")
        assert "into your store" in ended.stderr
        assert "Signature" not in ended.output
        assert "token=" not in ended.output


def test_a_large_file_that_cannot_reach_the_endpoint(
    plane: Platform, worker: Stub, ground: Path, long_speech: Path, here: Path
) -> None:
    before = count(plane)
    ended = submit(plane, *long_talk(ground, long_speech))
    assert ended.exit_code == 3
    said = " ".join(ended.stderr.split())
    assert "long.wav (8.2 MB): too large to travel in a request" in said
    assert "TALKHEAD_STORE__KIND=s3 or supabase on this machine" in said
    asked = [plane.plane.jobs[job].input for job in submitted(plane, before)]
    assert [each["action"] for each in asked] == ["uploads"]
    assert list(here.iterdir()) == []
    payload = {"image_base64": "A" * 10**7, "wav_base64": "AAAA"}
    (here / "old.json").write_text(json.dumps(payload))
    too_much = submit(plane, "--request", "old.json", "-o", "x.mp4")
    assert (too_much.exit_code, "over the 10 MB of /run" in too_much.stderr) == (2, True)


def test_the_clients_do_the_same(
    plane: Platform, worker: Stub, ground: Path, tmp_path: Path
) -> None:
    request = {
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": "library:librivox.flac"}],
        "size": "320x256",
        "max_frames": 25,
        "sampling": {"seed": 1},
        "output": {"inline": True},
    }

    async def awaited() -> dict[str, Any]:
        async with AsyncClient(plane.base) as client:
            job = await client.run(request)
            seen = [body async for body in client.events(job["id"])]
            assert seen[-1]["status"] == "COMPLETED"
            return await client.wait(job["id"])

    with Client(plane.base) as client:
        waited = client.wait(client.run(request)["id"])
        assert client.health()["jobs"]["completed"] > 0
        assert not client.is_ours()
    videos = [body["output"]["result"]["outputs"][0] for body in (waited, asyncio.run(awaited()))]
    assert videos[0]["sha256"] == videos[1]["sha256"]


def test_secret_is_one() -> None:
    """The setting shows nothing of the key."""
    shown = repr(Settings(endpoint={"url": "http://h", "key": SecretStr(SECRET)}))
    assert SECRET not in shown


def test_the_documented_python_runs(
    plane: Platform, worker: Stub, ground: Path, here: Path
) -> None:
    """Each piece of docs/client.md does what it says, with another address."""
    (here / "me.png").write_bytes((ground / "portrait.png").read_bytes())
    (here / "hello.wav").write_bytes((ground / "speech.wav").read_bytes())
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    waits, awaited = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shown: list[Any] = []
    for piece in (waits, awaited):
        assert "http://127.0.0.1:8000/v2/local" in piece
        code = piece.replace("http://127.0.0.1:8000/v2/local", plane.base)
        exec(code, {"print": shown.append, "__name__": "page"})
    assert shown[-2] == "COMPLETED"
    assert shown[-1] > 10
