"""Answers where the goldens show only one way: files too large, nothing made, no family."""

from typing import Any

import pytest

from talkhead.aliases import Reading, answer, read
from talkhead.aliases.families import FAMILIES
from talkhead.result import Made, Notice, Result

A, B = "https://a.example/a", "https://a.example/b"
VIDEO = Made(
    kind="video", key="p/j/video.mp4", url="https://s/v", mime="video/mp4", bytes=9, sha256="0"
)


def result(**changes: Any) -> Result:
    return Result(
        action="talk", version="1", job_id="j", outputs=(VIDEO.model_copy(update=changes),)
    )


@pytest.mark.parametrize(
    ("payload", "inline", "large"),
    [
        ({"image_url": A, "wav_url": B}, {"video": "QQ=="}, {"video_url": "https://s/v"}),
        ({"image": "AA==", "audio": "BB=="}, {"video": "QQ=="}, {"video_url": "https://s/v"}),
        (
            {"image_base64": "AA==", "audio_base64": "BB==", "width": 512, "height": 512},
            {"id": "j", "status": "COMPLETED", "progress": 100, "video_base64": "QQ=="},
            {"id": "j", "status": "COMPLETED", "progress": 100, "video_url": "https://s/v"},
        ),
        (
            {"image": A, "audio1": B},
            {"video_path": VIDEO.key, "generation_params": {}, "video_base64": "QQ=="},
            {"video_path": VIDEO.key, "generation_params": {}, "video_url": "https://s/v"},
        ),
    ],
)
def test_inline_videos(
    payload: dict[str, Any], inline: dict[str, Any], large: dict[str, Any]
) -> None:
    reading = read(payload, {})
    assert reading.payload["output"]["inline"] is True
    assert answer(reading, result(data="QQ==")) == inline
    assert answer(reading, result()) == large


def test_a_hub_video_kept_in_the_store() -> None:
    reading = read({"image_url": A, "wav_url": B, "network_volume": True}, {})
    assert reading.payload["output"]["inline"] is False
    assert answer(reading, result()) == {"video_path": VIDEO.key, "video_url": "https://s/v"}


def test_worker_comfyuis_files() -> None:
    reading = Reading("comfy", {})
    said = {"filename": "video.mp4", "type": "base64", "data": "QQ=="}
    assert answer(reading, result(data="QQ==")) == {"images": [said]}
    said |= {"type": "s3_url", "data": "https://s/v"}
    assert answer(reading, result()) == {"images": [said]}


def test_a_warning_is_told_once() -> None:
    notice = Notice(code="W_ALIAS", field="cond_video", message="read as source")
    reading = Reading("infinitetalk", {}, (notice,))
    found = answer(reading, result().model_copy(update={"warnings": (notice,)}))
    assert found["warnings"] == ["cond_video: read as source"]


def test_only_small_plain_values_are_repeated() -> None:
    payload = {"image_model_url": A, "sound_model_url": B}
    name = "video_generation_image_audio_pk"
    for value, echo in ((7, {name: 7}), ("k", {name: "k"}), ("x" * 999, {}), ({}, {})):
        assert read(payload | {name: value}, {}).echo == echo


@pytest.mark.parametrize("name", ["talkhead", *(family.name for family in FAMILIES)])
def test_a_job_that_made_nothing_has_an_answer_too(name: str) -> None:
    found = answer(Reading(name, {}), Result(action="talk", version="1"))
    assert isinstance(found, dict)
    assert name != "talkhead" or found == {}
