"""A video is watched while it is made: ffmpeg's HLS reader, a server, RunPod, a browser."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from support import browser, player
from support.cards import card_settings
from support.harness import SPEECH, Cli, read_sound, write_wav
from support.plane import Platform, platform
from support.self_hosted import Served, served
from support.serving import Ground, card, working
from talkhead import job, playlists
from talkhead.result import Progress, Result
from talkhead.runtime import Runtime
from talkhead.serve import replies
from talkhead.settings import Settings
from talkhead.stores.local import LocalStore
from talkhead.validation import parse

SIDE, SECONDS = 256, 8
STREAM = {"stream": True}
TOKEN = "a-token-of-this-test"
LACKING = browser.lacking()


@dataclass
class Film:
    """What was watched of a job while it ran, and what it left."""

    folder: Path
    result: Result
    pictures: list[np.ndarray] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    early: int = 0  # pictures that were decoded before the job had ended

    @property
    def index(self) -> Path:
        return self.folder / "store" / "film" / "stream" / "index.m3u8"

    @property
    def video(self) -> Path:
        return self.folder / "store" / "film" / "video.mp4"


class Viewer(threading.Thread):
    """ffmpeg's HLS reader on a playlist that grows; `seen` is set at the first picture."""

    def __init__(self, index: Path) -> None:
        super().__init__()
        self.index = index
        self.seen = threading.Event()
        self.pictures: list[np.ndarray] = []
        self.times: list[float] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            options = {"live_start_index": "0"}
            with av.open(str(self.index), options=options) as container:
                for frame in container.decode(video=0):
                    self.pictures.append(frame.to_ndarray())
                    self.times.append(float(frame.time or 0))
                    self.seen.set()
        except (av.FFmpegError, OSError, ValueError) as error:  # told by the test
            self.failure = error
            self.seen.set()


def speech_in(folder: Path) -> Path:
    sound = [read_sound(SPEECH / f"librivox_0{number}.flac") for number in (870, 890)]
    return write_wav(folder / "speech.wav", np.concatenate(sound)[: SECONDS * 16_000])


def payload(speech: Path) -> dict[str, Any]:
    return {
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": str(speech)}],
        "engine": "draft",
        "size": f"{SIDE}x{SIDE}",
        "fit": "face",
        "sampling": {"seed": 3},
        "output": STREAM,
    }


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Return a job that was held after its first part until a viewer had seen a picture of it."""
    folder = tmp_path_factory.mktemp("film")
    store = LocalStore(folder / "store", "http://store.example")
    runtime = Runtime(Settings(**card_settings(folder)), store, local_paths=True)
    viewer = Viewer(folder / "store" / "film" / "stream" / "index.m3u8")

    def hold(step: Progress) -> None:
        if step.stage == "render" and step.stream_url is not None and not viewer.ident:
            viewer.start()
            assert viewer.seen.wait(60)

    request = parse({**payload(speech_in(folder)), "idempotency_key": "film"})
    result = job.run(request, runtime, hold)
    early = len(viewer.pictures)
    viewer.join(60)
    assert viewer.failure is None
    return Film(folder, result, viewer.pictures, viewer.times, early)


def pictures(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def sound(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)


def test_it_is_watched_while_it_is_made(film: Film) -> None:
    assert film.result.plan is not None
    assert len(film.result.outputs) == 3
    assert 0 < film.early < SECONDS * 25
    final = pictures(film.video)
    assert len(film.pictures) == len(final) == SECONDS * 25
    assert all((one == other).all() for one, other in zip(film.pictures, final, strict=True))
    np.testing.assert_allclose(film.times, np.arange(len(final)) / 25, atol=1e-4)


def test_no_sample_of_sound_is_missing_or_changed_at_any_join(film: Film) -> None:
    np.testing.assert_array_equal(sound(film.index), sound(film.video))


def test_a_part_alone_begins_with_a_picture_and_holds_what_it_says(film: Film) -> None:
    names = playlists.names(film.index.read_text())
    init = film.index.with_name(names[0]).read_bytes()
    counts = []
    for name in names[1:]:
        alone = film.folder / "alone.mp4"
        alone.write_bytes(init + film.index.with_name(name).read_bytes())
        counts.append(len(pictures(alone)))
    assert sum(counts) == SECONDS * 25
    assert film.result.plan is not None
    assert len(counts) == film.result.plan.segments


def test_a_killed_job_goes_on_with_the_same_parts(film: Film, cli: Cli) -> None:
    """Killed as the kernel would; the playlist stays open, and then becomes the same."""
    store = {"kind": "local", "root": str(cli.folder / "store"), "base": "http://store.example"}
    cli.env["TALKHEAD_STORES"] = json.dumps({"served": store})
    file = cli.folder / "request.json"
    request = payload(film.folder / "speech.wav")
    request |= {"idempotency_key": "film", "output": {**STREAM, "store": "served"}}
    file.write_text(json.dumps(request))
    index = cli.folder / "store" / "film" / "stream" / "index.m3u8"
    run = cli.start("talk", "--request", file)
    deadline = time.monotonic() + 60
    while not index.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    whole = playlists.names(film.index.read_text())
    before = index.read_text()
    assert "ENDLIST" not in before, "it was done before the kill came"
    count = len(playlists.names(before))
    assert 2 <= count < len(whole)
    stamps = {name: index.with_name(name).stat().st_mtime_ns for name in whole[:count]}
    ended = cli("talk", "--request", file, "--json")
    assert ended.status == 0, ended.err
    assert ended.json["segments"]["resumed"] >= 1
    assert index.read_text() == film.index.read_text()
    assert {n: index.with_name(n).stat().st_mtime_ns for n in whole[:count]} == stamps
    for name in whole:
        assert index.with_name(name).read_bytes() == film.index.with_name(name).read_bytes()
    assert sorted(path.name for path in index.parent.iterdir()) == sorted([*whole, index.name])


def test_the_server_shows_the_stream(tmp_path: Path) -> None:
    """In a job's progress, to those who show the token, ranges and all; forgotten with the job."""
    ground = Ground(tmp_path)
    with served(ground, "--no-page", TALKHEAD_SERVER__TOKEN=TOKEN) as server:
        name = server.run(card("sleep", frames=175, options={"at": 80}, output=STREAM))
        running = server.until(name, lambda s: "stream" in (s.get("output") or {}))
        assert running["status"] == "IN_PROGRESS"
        stream = running["output"]["stream"]
        assert stream == {"url": f"/files/{name}/stream/index.m3u8", "seconds": 3.2}
        playlist = server.http.get(stream["url"])
        assert playlist.headers["content-type"].startswith("application/vnd.apple.mpegurl")
        assert playlist.headers["cache-control"] == "no-cache"
        assert httpx.get(server.base + stream["url"]).status_code == 401
        for entry in playlists.names(playlist.text):
            part = server.http.get(stream["url"].replace("index.m3u8", entry))
            assert part.is_success
            assert part.headers["content-type"] in ("video/mp4", "video/iso.segment")
        some = server.http.get(str(part.url), headers={"Range": "bytes=4-7"})
        assert (some.status_code, some.content) == (206, part.content[4:8])
        assert "ENDLIST" not in playlist.text
        server.http.post(f"/cancel/{name}")
        assert server.end(name)["status"] == "CANCELLED"
        whole = server.run(card(output=STREAM))
        outputs = server.end(whole)["output"]["result"]["outputs"]
        made = next(item for item in outputs if item["kind"] == "stream")
        assert "ENDLIST" in server.http.get(made["url"]).text
        assert server.http.get(stream["url"]).text.endswith("ENDLIST\n"), "players stop"
        assert server.http.delete(f"/jobs/{whole}").is_success
        assert not list((ground.store / whole).rglob("*.*"))


@pytest.fixture(scope="module")
def plane() -> Iterator[Platform]:
    with platform() as running:
        yield running


def parts_of(plane: Platform, name: str) -> list[Any]:
    return [event.details["output"] for event in plane.events(name, "stream")]


@pytest.mark.soak  # an operator has to ask for it
def test_runpods_generator(plane: Platform, tmp_path: Path) -> None:
    """Progress and at last the answer, each as it comes and all in a list; errors, cancel."""
    root = {"kind": "local", "root": str(tmp_path / "store"), "base": "http://store.example"}
    ground = Ground(tmp_path, TALKHEAD_STORE=json.dumps(root), TALKHEAD_WORKER__GENERATOR="true")
    with working(ground, plane):
        name = plane.run(card(output=STREAM))
        body = plane.end(name)
        told = body["output"]
        assert body["status"] == "COMPLETED", body
        assert parts_of(plane, name) == told
        assert [step["pct"] for step in told[:-1]] == sorted(step["pct"] for step in told[:-1])
        assert len(told) > 1
        assert all({"stage", "pct", "step", "steps"} <= step.keys() for step in told[:-1])
        result = replies.result(body)
        assert result == told[-1]["result"]
        assert [made["kind"] for made in result["outputs"]] == ["video", "thumbnail", "stream"]
        failed = plane.ask(card(portrat="x"))
        assert failed["status"] == "FAILED"
        assert json.loads(failed["error"])["fields"] == ["portrat"]
        stopped = plane.run(card("sleep", frames=175, options={"at": 80}, output=STREAM))
        link = f"http://store.example/{stopped}/stream/index.m3u8"
        known = {"url": link, "seconds": 3.2}
        plane.until(
            lambda: known in [p.get("stream") for p in parts_of(plane, stopped)], "a stream"
        )
        plane.post(f"cancel/{stopped}")
        assert plane.ask(card())["status"] == "COMPLETED", "the next one finds the host free"
        assert plane.events(stopped, "done") == []
    assert not plane.events(None, "late")


@pytest.mark.soak
@pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
def test_a_browser_plays_it_while_it_is_made(tmp_path: Path) -> None:
    """hls.js in Chromium, behind the login: no gap in what is buffered, every frame is shown."""
    script = player.library(tmp_path)
    if script is None:
        pytest.skip("npm cannot fetch hls.js")
    ground = Ground(tmp_path / "ground", TALKHEAD_ENGINE="draft")
    speech_in(ground.volume)
    with (
        browser.chromium() as chromium,
        served(ground, "--no-page", TALKHEAD_SERVER__TOKEN=TOKEN) as server,
    ):
        page = chromium.new_context(viewport={"width": 400, "height": 400}).new_page()
        page.context.request.post(f"{server.base}/login", form={"token": TOKEN})
        page.goto(f"{server.base}/health")
        name = server.run({**payload(Path("volume:speech.wav")), "size": "512x512"})
        running = server.until(name, lambda s: "stream" in (s.get("output") or {}))
        player.start(page, script, running["output"]["stream"]["url"])
        page.wait_for_function("() => video.currentTime > 0.2", timeout=60_000)
        assert server.status(name)["status"] == "IN_PROGRESS"
        page.screenshot(path=str(tmp_path / "playing.png"))
        page.wait_for_function("() => video.ended", timeout=120_000)
        _see_it_whole(player.state(page), server, name)


def _see_it_whole(state: dict[str, Any], server: Served, name: str) -> None:
    assert server.end(name)["status"] == "COMPLETED"
    assert state["size"] == [512, 512]
    assert state["frames"] == SECONDS * 25
    for spans in (state["buffered"], state["played"]):
        assert len(spans) == 1
        assert spans[0] == pytest.approx([0, SECONDS], abs=0.03)
    assert not [error for error in state["errors"] if error.endswith("true")]
