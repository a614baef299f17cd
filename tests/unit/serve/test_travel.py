"""Which files of a request travel, and how."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve import travel
from talkhead.serve.client import RUN_BYTES, Client
from talkhead.serve.travel import INSIDE, Body
from talkhead.settings import Settings


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, size in (("a.png", 10), ("b.wav", 20), ("empty.wav", 0)):
        (tmp_path / name).write_bytes(b"x" * size)
    for name in ("large.mp4", "larger.mp4"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(5_000_000 + 10 * len(name))
    return tmp_path


class Ours:
    """A talkhead server that keeps every upload."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            self.names.append(request.url.path.rpartition("/")[2])
        return httpx.Response(200, json={"reference": f"volume:{len(self.names)}", "jobs": []})


def sent(payload: dict[str, Any], answer: Ours | None = None) -> dict[str, Any]:
    transport = httpx.MockTransport(answer or (lambda _: httpx.Response(404)))
    with Client("http://host", transport=transport, repeats=False) as client:
        body = travel.resolved(Body(payload), client, Settings(), lambda _: None)
    assert body.size <= RUN_BYTES
    return body.payload


def inside(content: bytes) -> str:
    return INSIDE + base64.b64encode(content).decode()


def test_paths_become_data_and_other_references_stay(files: Path) -> None:
    payload = {
        "portrait": "a.png",
        "speakers": [{"audio": str(files / "b.wav")}, {"text": "a.png", "sample": "b.wav"}],
        "engine": "draft",
        "options": {"audio": "b.wav"},
        "output": {"name": "a.png"},
    }
    made = sent(payload)
    assert made["portrait"] == inside(b"x" * 10)
    assert made["speakers"][0] == {"audio": inside(b"x" * 20)}
    assert made["speakers"][1] == {"text": "a.png", "sample": inside(b"x" * 20)}
    assert made["options"] == payload["options"]
    assert made["output"] == payload["output"]
    assert payload["portrait"] == "a.png"
    stays = {"portrait": "https://h/a.png", "speakers": [{"audio": "library:b.flac"}]}
    assert sent(stays) == stays


def test_a_batch_is_looked_through(files: Path) -> None:
    talk = {"portrait": "a.png", "speakers": [{"audio": "b.wav"}]}
    made = sent({"action": "batch", "requests": [talk, talk]})
    assert [item["portrait"] for item in made["requests"]] == [inside(b"x" * 10)] * 2


def test_older_payloads_are_left_alone(files: Path) -> None:
    payload = {"action": "lipsync", "portrait_image": "a.png", "audio": "b.wav"}
    assert sent(payload) == payload


def test_the_largest_files_go_first_and_once(files: Path) -> None:
    server = Ours()
    payload = {
        "video": "larger.mp4",
        "speakers": [{"audio": "large.mp4"}, {"audio": "larger.mp4"}, {"audio": "b.wav"}],
    }
    made = sent(payload, server)
    assert server.names == ["larger.mp4"]
    assert made["video"] == made["speakers"][1]["audio"] == "volume:1"
    assert made["speakers"][0]["audio"].startswith(INSIDE)
    assert made["speakers"][2]["audio"].startswith(INSIDE)


def test_nothing_is_uploaded_that_fits(files: Path) -> None:
    server = Ours()
    made = sent({"portrait": "a.png", "speakers": [{"audio": "large.mp4"}]}, server)
    assert server.names == []
    assert made["speakers"][0]["audio"].startswith(INSIDE)


@pytest.mark.parametrize("name", ["gone.wav", "empty.wav", ".", "a\0b", "x" * 5000])
def test_what_cannot_be_read_is_named(files: Path, name: str) -> None:
    with pytest.raises(TalkheadError, match=r"speakers\.0\.audio: cannot read") as caught:
        sent({"portrait": "a.png", "speakers": [{"audio": name}]})
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("speakers.0.audio",))
    assert len(caught.value.message) < 400
