"""What older callers may send without harm: null, any text as a name, long URLs, old defaults."""

from typing import Any

import pytest

from talkhead.aliases import glance, read, retold
from talkhead.errors import TalkheadError
from talkhead.validation import parse

A, B = "https://a.example/a", "https://a.example/b"
FIVE = {"cond_video": A, "cond_audio": {"person1": B}}
TEXTS = {"cond_video": A, "tts_audio": {"text": "(s1) hi (s2) ho"}}
TASK = {"image_path": "a", "audio_path": "b"}


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize(
    ("payload", "key", "family"),
    [
        (FIVE, "batch", "infinitetalk"),
        (FIVE, "low_vram", "infinitetalk"),
        (FIVE, "unheard_of", "infinitetalk"),
        ({"image_url": A, "audio_url": B}, "portrait", "wanvideo"),
        ({"image_url": A, "audio_url": B}, "action", "wanvideo"),
        ({"image_url": A, "audio_url": B}, "workflow", "wanvideo"),
        ({"description": "Odin"}, "action", "sonic-portrait"),
        ({"portrait": A, "speakers": []}, "audio_url", "talkhead"),
    ],
)
def test_a_key_that_says_nothing_is_left_out(
    payload: dict[str, Any], key: str, family: str, nothing: object
) -> None:
    more = {key: nothing, **payload}
    assert glance(more).family == family
    reading = read(more, {})
    if family == "talkhead":
        assert reading.payload is more  # what this version makes of null is its own affair
    else:
        assert reading == read(payload, {})


def test_an_item_of_a_batch_leaves_out_what_is_null() -> None:
    shared = {"frame_num": 41, "batch": [FIVE | {"frame_num": None, "bbox": ""}]}
    assert read(shared, {}).payload["items"][0]["max_frames"] == 41


def test_tasks_of_different_names_are_different_jobs() -> None:
    names = ["a b", "a-b", "a/b", "é-a-b", "张伟", "_a", "a", "x" * 300]
    found = {parse(read(TASK | {"task_id": n}, {}).payload).idempotency_key for n in names}
    assert len(found) == len(names)


@pytest.mark.parametrize("user", ["张伟", "José", "a b", "用户7", "_", "x" * 300])
def test_a_user_of_any_name_is_taken(user: str) -> None:
    asked = {"input_image_url": A, "driving_video_path": "b.mp4", "user_id": user}
    parse(read(asked, {}).payload)


def test_a_signed_url_may_be_as_long_as_here() -> None:
    signed = f"{A}?signature={'a' * 8000}"
    assert parse(read({"image_url": signed, "audio_url": B}, {}).payload).portrait == signed


@pytest.mark.parametrize("kind", ["para", "add", None])
def test_two_texts_take_turns_whatever_audio_type_says(kind: str | None) -> None:
    reading = read(TEXTS | {"audio_type": kind}, {})
    assert reading.payload["turns"] == "in_turn"
    ignored = [notice.field for notice in reading.notices if notice.code == "W_IGNORED"]
    assert ignored == (["audio_type"] if kind == "para" else [])


def test_two_recordings_go_by_audio_type() -> None:
    heard = {"cond_video": A, "cond_audio": {"person1": A, "person2": B}}
    assert read(heard | {"audio_type": "para"}, {}).payload["turns"] == "together"
    assert read(heard | {"audio_type": "add"}, {}).payload["turns"] == "in_turn"
    assert "turns" not in read(heard, {}).payload


def test_only_the_names_of_fields_are_retold() -> None:
    payload = {"action": "portrait", "description": "x" * 10_001, "negative_prompt": "y" * 10_001}
    reading = read(payload, {})
    with pytest.raises(TalkheadError) as caught:
        parse(reading.payload)
    told = retold(reading, caught.value)
    assert told.fields == ("description", "negative_prompt")
    assert [part.split(":")[0] for part in told.message.split("; ")] == list(told.fields)
