"""A batch on the real worker child and the draft engine, and on the command line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.harness import Cli
from support.hosting import order, settings_in
from talkhead.errors import Code, TalkheadError
from talkhead.media.facts import video_facts
from talkhead.serve.answering import Answer, Asked, answer
from talkhead.serve.worker import Host, Order
from talkhead.settings import Settings

FACE = {
    "portrait": "library:astronaut.png",
    "speakers": [{"audio": "library:librivox.flac"}],
    "engine": "draft",
    "size": "256x256",
    "fit": "face",
    "max_frames": 25,
}
MANIFEST_OF_1 = "jobs/b/1/manifest.jsonl"
OLDER = {"cond_video": "library:astronaut.png", "cond_audio": "library:librivox.flac"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what one worker answers to a batch, to the same again, and to an older one."""
    folder = tmp_path_factory.mktemp("batch")
    settings = Settings(
        engine="draft",
        jobs=folder / "jobs",
        store={"root": folder / "store"},
        compat_engines={"infinitetalk": "draft"},
    )
    items = [FACE, {**FACE, "portrait": "library:nobody.png"}, {**FACE, "max_frames": 50}]
    batch = {"action": "batch", "items": items, "output": {"prefix": "p"}}
    older = {
        "batch": [
            {**OLDER, "id": "one", "frame_num": 9},
            {**OLDER, "cond_video": "library:no.png"},
        ],
        "fit": "face",
        "output": {"thumbnail": False},
    }
    pids: list[int | None] = []
    seen: list[Any] = []

    async def ask() -> list[Answer]:
        host = Host(settings)
        found = []
        for name, payload in (("b", batch), ("b", batch), ("old", older)):
            found.append(await answer(Asked(name, payload), host, settings, seen.append))
            pids.append(host.pid)
        await host.close()
        return found

    first, again, old = asyncio.run(ask())
    return {
        "first": first,
        "again": again,
        "old": old,
        "seen": seen,
        "pids": pids,
        "folder": folder,
    }


def test_two_good_items_and_a_bad_one(answers: dict[str, Any]) -> None:
    assert answers["first"].error is None
    result = answers["first"].body["result"]
    ends = result["items"]
    assert [("result" in end, "error" in end) for end in ends] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert ends[1]["error"]["fields"] == ["items.1.portrait"]
    for index, frames in ((0, 25), (2, 50)):
        made = ends[index]["result"]["outputs"][0]
        assert made["key"] == f"p/b/{index}/video.mp4"
        facts = video_facts(answers["folder"] / "store" / made["key"])
        assert (facts.frames, facts.width, facts.height) == (frames, 256, 256)
    steps = [step for step in answers["seen"] if step.items == 3]
    assert {step.item for step in steps} == {1, 2, 3}
    assert len(set(answers["pids"])) == 1  # one process, whatever failed in it
    assert not list((answers["folder"] / "jobs").iterdir())


def test_a_repeat_renders_nothing(answers: dict[str, Any]) -> None:
    ends = answers["again"].body["result"]["items"]
    assert [end.get("result", {}).get("repeated") for end in ends] == [True, None, True]
    keys = [end["result"]["outputs"][0]["sha256"] for end in ends if "result" in end]
    before = answers["first"].body["result"]["items"]
    assert keys == [end["result"]["outputs"][0]["sha256"] for end in before if "result" in end]


def test_an_older_batch_is_answered_in_its_shape(answers: dict[str, Any]) -> None:
    body = answers["old"].body
    assert (body["job_id"], body["status"]) == ("old", "partial")
    good, bad = body["items"]
    assert (good["id"], good["result"]["status"]) == ("one", "success")
    assert good["result"]["video"]["mime"] == "video/mp4"
    assert good["result"]["params"] == {"frame_num": 9}
    assert (bad["id"], bad["result"]["status"]) == ("item-1", "error")
    assert bad["result"]["error"]["fields"] == ["batch.1.cond_video"]


def test_a_killed_batch_goes_on_and_gives_up_what_kills_it(tmp_path: Path) -> None:
    """One kill costs a segment; an item that kills each process costs that item."""
    settings, mark = settings_in(tmp_path), tmp_path / "mark"
    common = {**order("b").request}
    for name in ("idempotency_key", "options"):
        del common[name]
    deadly = {"how": "killed"}
    once = {**deadly, "at": 80, "once": str(mark), "after": str(tmp_path / MANIFEST_OF_1)}
    batch = {
        "action": "batch",
        "idempotency_key": "b",
        "items": [
            common,
            {**common, "max_frames": 175, "options": once},
            {**common, "options": deadly},
        ],
    }
    ends: list[Any] = []

    async def ask() -> None:
        host = Host(settings)
        for _ in range(4):
            try:
                ends.append(await host.run(Order("job", batch), lambda _: None))
            except TalkheadError as error:
                ends.append(error.code)
        await host.close()

    asyncio.run(ask())
    assert ends[:3] == [Code.CAPACITY] * 3  # the second item once, the third one twice
    first, second, third = ends[3].items
    assert first.result.repeated
    assert second.result.repeated
    assert second.result.segments.resumed == 1
    assert third.error.code == Code.GENERATION


@pytest.mark.soak  # in CI: the same batch by a worker, above
def test_the_command_line_writes_a_folder(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    items = [
        {**FACE, "max_frames": 10, "output": {"name": "one"}},
        {"action": "speak", "text": "Good morning"},
        {**FACE, "portrait": "nowhere.png"},
    ]
    (tmp_path / "items.json").write_text(json.dumps(items))
    planned = cli("batch", "items.json", "--plan")
    assert planned.status == 1
    assert "2 of 3 items" in planned.out
    ended = cli("batch", "items.json", "-o", "out")
    assert ended.status == 1
    assert "items.2.portrait" in ended.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "1.result.json",
        "1.wav",
        "one.mp4",
        "one.result.json",
        "one.thumbnail.jpg",
        "result.json",
    ]
    refused = cli("batch", "items.json", "-o", "out")
    assert refused.status == 2
    assert "exists already" in refused.err
    assert "talkhead batch" in cli("talk", "--request", _batch(tmp_path, items)).err


def _batch(folder: Path, items: list[dict[str, Any]]) -> Path:
    file = folder / "batch.json"
    file.write_text(json.dumps({"input": {"action": "batch", "items": items}}))
    return file
