"""What the server makes of a batch beside its answer: its line, its frames, its files."""

from pathlib import Path
from typing import Any

import pytest

from talkhead.serve.answering import Answer
from talkhead.serve.queue import Entry
from talkhead.serve.server import history, wire
from talkhead.settings import Settings


def end(index: int, frames: int, *, repeated: bool = False) -> dict[str, Any]:
    made = {"kind": "video", "key": f"p/b/{index}/video.mp4", "url": f"https://u/{index}"}
    result = {"outputs": [made], "plan": {"frames": frames}, "repeated": repeated}
    return {"index": index, "result": result}


BODY = {"result": {"items": [{"index": 0, "error": {}}, end(1, 50), end(2, 9, repeated=True)]}}
ENTRY = Entry("b", "render", "COMPLETED", 0, 1, 1, 1, 1.0, 2.0, 3.0, None, BODY, None, {})


def test_its_line_shows_the_first_video() -> None:
    assert wire.listed(ENTRY)["video"] == "https://u/1"


def test_frames_that_were_rendered_count() -> None:
    pytest.importorskip("prometheus_client")
    from talkhead.serve.server.metrics import Metrics

    metrics = Metrics()
    metrics.end(ENTRY, Answer(BODY))
    assert metrics.frames._value.get() == 50


def test_forgetting_it_leaves_nothing(tmp_path: Path) -> None:
    for name in ("job.json", "result.json", "1/video.mp4", "1/result.json", "1/job.json"):
        file = tmp_path / "store/p/b" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    settings = Settings(store={"root": tmp_path / "store"}, jobs=tmp_path / "jobs")
    assert history.forget(settings, ENTRY) == 2
    assert not list((tmp_path / "store").rglob("*.*"))
