"""Errors of the canonical request, in the words of the payload that it came from."""

import json
from pathlib import Path
from typing import Any

import pytest

from talkhead.aliases import Reading, read, retold
from talkhead.errors import Code, TalkheadError

A, B = "https://a.example/a", "https://a.example/b"
GOLDENS = Path(__file__).parents[2] / "goldens" / "aliases"
FIVE = {"cond_video": A, "cond_audio": {"person1": B, "person2": B}}
LIGHT = {"image_path": "a", "audio_path": "b"}
WANVIDEO = {"image_url": A, "audio_url": B}
GRAPH = json.loads((GOLDENS / "comfy.json").read_text())["payload"]["workflow"]


def payload(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDENS / f"{name}.json").read_text())["payload"]
    return found


def told(reading: Reading, path: str) -> TalkheadError:
    error = TalkheadError(Code.INPUT, f"{path}: missing", "correct it", fields=[path])
    return retold(reading, error)


FAMILIES = sorted(path.stem for path in GOLDENS.glob("*.json") if "batch" not in path.stem)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_file_keeps_its_canonical_name(name: str) -> None:
    given = payload(name)
    reading = read(given, {})
    canonical = reading.payload
    paths = [key for key in ("portrait", "video", "source", "sample", "text") if key in canonical]
    for index, speaker in enumerate(canonical.get("speakers", ())):
        paths += [f"speakers.{index}.{key}" for key in ("audio", "text") if key in speaker]
    for path in paths:
        error = told(reading, path)
        (field,) = error.fields
        assert field in given, path
        assert error.message.startswith(field)
        assert error.message.endswith(": missing")


@pytest.mark.parametrize(
    ("given", "path", "old"),
    [
        (FIVE, "speakers.1.audio", "cond_audio"),
        (FIVE, "speakers.1", "cond_audio"),
        (FIVE, "speakers", "cond_audio"),
        (FIVE | {"frame_num": 7}, "max_frames", "frame_num"),
        (FIVE | {"frame_num": 7, "max_frame_num": 9, "mode": "streaming"}, "max_frames",
         "max_frame_num"),
        (FIVE | {"max_frame_num": 9}, "max_frames", "max_frames"),  # its own default
        (FIVE | {"use_teacache": True, "teacache_thresh": 9}, "options.teacache_threshold",
         "teacache_thresh"),
        (FIVE | {"id": "x"}, "output.name", "id"),
        (FIVE | {"output": {"url": "x"}}, "output.url", "output.url"),
        (LIGHT | {"target_video_length": 0}, "max_frames", "target_video_length"),
        (LIGHT | {"video_duration": 0}, "max_frames", "video_duration"),
        (LIGHT | {"target_shape": [0, 9]}, "size.height", "target_shape"),
        ({"input_image_url": A, "driving_video_path": "b", "user_id": "u"}, "output.prefix",
         "user_id"),
        ({"description": "a", "save_to_avatars": True, "avatar_name": "b"}, "save_as",
         "avatar_name"),
        (WANVIDEO | {"width": 5}, "size", "width"),
        (WANVIDEO | {"width": 5}, "size.width", "width"),
        (WANVIDEO | {"workflow": GRAPH}, "sampling.steps", "workflow"),
        ({"image_url": A, "workflow": GRAPH}, "speakers.0.audio", "workflow"),
        ({"audio_url": A, "workflow": GRAPH}, "portrait", "workflow"),
    ],
)  # fmt: skip
def test_the_old_name_of_a_path(given: dict[str, Any], path: str, old: str) -> None:
    error = told(read(given, {}), path)
    assert error.fields == (old,)
    assert error.message.startswith(old)
    if old == "workflow":  # a graph is large
        assert error.message == f"workflow ({path}): missing"


def test_several_problems_are_told_one_by_one() -> None:
    reading = read(FIVE | {"sample_steps": 0}, {})
    error = TalkheadError(
        Code.INPUT,
        "speakers.0.audio: missing; sampling.steps: too small; sampling.steps.x: odd",
        "correct them",
        fields=["speakers.0.audio", "sampling.steps"],
    )
    found = retold(reading, error)
    assert found.fields == ("cond_audio", "sample_steps")
    assert found.message == "cond_audio: missing; sample_steps: too small; sampling.steps.x: odd"


def test_a_canonical_request_keeps_its_words() -> None:
    reading = read({"portrait": A, "speakers": [{"audio": B}]}, {})
    assert told(reading, "speakers.0.audio").fields == ("speakers.0.audio",)
    unheard = TalkheadError(Code.UNSUPPORTED, "a", "b", fields=["action"])
    assert retold(read({"action": "workflow"}, {}), unheard).hint == "b"
