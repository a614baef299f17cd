"""From what a form holds to a request that the contract takes."""

from dataclasses import replace
from typing import Any

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.ui import asking
from talkhead.serve.ui.asking import SIMPLE_FIELDS, VOICE_FIELDS, Asked, Voice
from talkhead.validation import parse

PHOTO, SOUND, CLIP = ({"path": f"/tmp/{name}"} for name in ("a.png", "b.wav", "c.mp4"))
PLAIN = Asked(portrait=PHOTO, first=Voice(audio=SOUND))


def refer(file: Any) -> str:
    return f"volume:{file['path'].rpartition('/')[2]}"


def wanted(form: Asked) -> dict[str, Any]:
    found = asking.payload(form, refer)
    parse(found)  # what the page makes, the contract takes
    return found


def test_the_least() -> None:
    assert wanted(PLAIN) == {
        "action": "talk",
        "portrait": "volume:a.png",
        "speakers": [{"audio": "volume:b.wav"}],
    }


def test_everything() -> None:
    form = replace(
        PLAIN, engine="draft", size="512 × 512", quality="best", score=True, prompt="calm",
        negative_prompt="hands", fps="30000/1001", fit="pad", thumbnail=False, steps="8",
        text_guidance="1,5", audio_guidance="2", shift="7.0", seed="9223372036854775807",
        offload="block", options={"mouth": 1.1, "blinks": None},
        first=Voice(audio=SOUND, transcript="Hello", language="en"),
    )  # fmt: skip
    assert wanted(form) == {
        "action": "talk",
        "portrait": "volume:a.png",
        "speakers": [{"audio": "volume:b.wav", "transcript": "Hello", "language": "en"}],
        "engine": "draft",
        "size": "512x512",
        "quality": "best",
        "prompt": "calm",
        "negative_prompt": "hands",
        "fps": "30000/1001",
        "fit": "pad",
        "options": {"mouth": 1.1},
        "sampling": {
            "steps": 8,
            "text_guidance": 1.5,
            "audio_guidance": 2,
            "shift": 7.0,
            "seed": 2**63 - 1,
        },
        "memory": {"offload": "block"},
        "output": {"score": True, "thumbnail": False},
    }


def test_a_text_and_its_voice() -> None:
    voice = Voice(mode="text", text="Hi", voice="espeak", speed=1, language="auto", audio=SOUND)
    assert wanted(replace(PLAIN, first=voice))["speakers"] == [{"text": "Hi", "voice": "espeak"}]
    faster = replace(voice, speed=1.5, language="fr")
    said = wanted(replace(PLAIN, first=faster))["speakers"][0]
    assert (said["speed"], said["language"]) == (1.5, "fr")


def test_two_speakers_with_boxes() -> None:
    form = replace(
        PLAIN, two=True, turns="in_turn", second=Voice(mode="text", text="Me too"),
        boxes={"0": [1.04, 2, 30, 40], "1": [50, 2, 90, 40], "corner": [1, 1]},
    )  # fmt: skip
    found = wanted(form)
    assert found["turns"] == "in_turn"
    assert [speaker["box"] for speaker in found["speakers"]] == [[1.0, 2, 30, 40], [50, 2, 90, 40]]
    alone = wanted(replace(form, two=False))
    assert alone["speakers"] == [{"audio": "volume:b.wav"}]
    assert "turns" not in alone


def test_a_source_video() -> None:
    found = wanted(replace(PLAIN, kind="video", video=CLIP))
    assert (found["video"], "portrait" in found) == ("volume:c.mp4", False)


@pytest.mark.parametrize(
    ("form", "missing", "field"),
    [
        (Asked(), "Add a portrait", "portrait"),
        (Asked(kind="video", portrait=PHOTO), "Add a source video", "video"),
        (Asked(portrait=PHOTO), "Add the speech", "speakers"),
        (Asked(portrait=PHOTO, first=Voice(mode="text", text=" ")), "Write the text", "speakers"),
        (replace(PLAIN, two=True), "Add the speech of speaker 2", "speakers"),
    ],
)
def test_what_is_missing(form: Asked, missing: str, field: str) -> None:
    assert form.missing == missing
    with pytest.raises(TalkheadError) as caught:
        asking.payload(form, refer)
    assert (caught.value.message, caught.value.fields) == (missing, (field,))


@pytest.mark.parametrize("typed", ["many", "1e", "--3", "0x10"])
def test_a_number_that_is_none(typed: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        asking.payload(replace(PLAIN, steps=typed), refer)
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("sampling.steps",))


def test_options_need_an_engine_by_name() -> None:
    assert "options" not in wanted(replace(PLAIN, options={"mouth": 1.1}))


def test_the_preview_is_short_small_and_draft() -> None:
    form = replace(PLAIN, engine="infinitetalk", size="720p", quality="best", steps="40")
    found = asking.preview(asking.payload(form, refer), 7.1)
    parse(found)
    assert (found["engine"], found["duration"], found["size"]) == ("draft", 3.0, {"long": 480})
    assert not found.keys() & {"quality", "sampling", "options"}
    assert asking.preview(wanted(PLAIN), 1.5)["duration"] == 1.5


def test_the_plan_is_a_dry_run() -> None:
    assert asking.planned(wanted(PLAIN))["dry_run"] is True


def test_a_voice_is_heard() -> None:
    said = asking.spoken(Voice(mode="text", text="word " * 200, voice="espeak", audio=SOUND))
    parse(said)
    assert (said["action"], len(said["text"]), said["voice"]) == ("speak", 300, "espeak")
    with pytest.raises(TalkheadError):
        asking.spoken(Voice(mode="text"))


def test_values_come_in_the_order_of_the_fields() -> None:
    simple = [f"s{at}" for at in range(len(SIMPLE_FIELDS))]
    voices = [[f"v{who}{at}" for at in range(len(VOICE_FIELDS))] for who in (1, 2)]
    form = asking.asked([*simple, *voices[0], *voices[1]])
    assert form.kind == "s0"
    assert getattr(form, SIMPLE_FIELDS[-1]) == simple[-1]
    assert (form.first.mode, form.second.language) == ("v10", voices[1][-1])
