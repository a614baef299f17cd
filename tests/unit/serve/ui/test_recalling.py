"""From an earlier request back to the form, and to the same request again."""

from dataclasses import replace
from typing import Any

import pytest

from talkhead.errors import TalkheadError
from talkhead.serve.ui import asking, telling
from talkhead.serve.ui.asking import Asked, Voice
from talkhead.serve.ui.recalling import recalled
from talkhead.validation import parse

PHOTO, SOUND, CLIP = ({"path": f"/up/{name}"} for name in ("a.png", "b.wav", "c.mp4"))
PLAIN = Asked(portrait=PHOTO, first=Voice(audio=SOUND))


def refer(file: Any) -> str:
    return f"volume:{file['path'].rpartition('/')[2]}"


def again(payload: dict[str, Any], seed: int | None = None) -> dict[str, Any]:
    """Return the request that the page makes of a form that has come back, with its files."""
    found = recalled(payload, seed)
    assert found.lost == ()
    files = {slot: {"path": f"/up/{ref.partition(':')[2]}"} for slot, ref in found.files.items()}
    form = replace(
        found.form,
        portrait=files.get("portrait"),
        video=files.get("video"),
        first=replace(found.form.first, audio=files.get("first")),
        second=replace(found.form.second, audio=files.get("second")),
    )
    return asking.payload(form, refer)


@pytest.mark.parametrize(
    "form",
    [
        PLAIN,
        replace(
            PLAIN, engine="draft", size="512x512", quality="best", score=True, prompt="calm",
            negative_prompt="hands", fps="30000/1001", fit="pad", thumbnail=False, steps="8",
            text_guidance="1.5", audio_guidance="2", shift="7", seed="77", offload="block",
            options={"head_motion": 0.5},
            first=Voice(audio=SOUND, transcript="Hello", language="en"),
        ),
        replace(PLAIN, kind="video", portrait=None, video=CLIP, engine="infinitetalk", size="480p"),
        replace(PLAIN, size="720", first=Voice("text", text="Hi " * 99, voice="a", speed=1.5)),
        replace(
            PLAIN, two=True, turns="in_turn", second=Voice("text", text="Me too", language="fr"),
            boxes={"0": [692, 69.5, 783.4, 178.3], "1": [1, 2, 30, 40]},
        ),
    ],
)  # fmt: skip
def test_the_same_request_is_made_again(form: Asked) -> None:
    first = asking.payload(form, refer)
    assert parse(again(first)) == parse(first)


def test_the_seed_that_was_used_comes_back_where_none_was_named() -> None:
    asked = asking.payload(PLAIN, refer)
    assert again(asked, 4711)["sampling"] == {"seed": 4711}
    named = asking.payload(replace(PLAIN, seed="5"), refer)
    assert again(named, 4711)["sampling"] == {"seed": 5}


def test_what_the_page_has_no_field_for_is_said() -> None:
    asked = asking.payload(PLAIN, refer) | {"duration": 3.0, "memory": {"quant": "fp8"}}
    asked["speakers"] = [{"audio": "volume:b.wav", "start": 1.0, "box": [0, 0, 9, 9]}] * 3
    found = recalled({**asked, "size": {"short": 500}, "idempotency_key": "k"})
    assert found.lost == (
        "duration", "memory.quant", "more speakers", "size", "speakers.start",
    )  # fmt: skip
    assert "speakers.box" in recalled({**asked, "speakers": asked["speakers"][:1]}).lost
    quick = {"portrait": "volume:a.png", "speakers": [{"text": "a", "speed": 3}]}
    assert recalled(quick).lost == ("speakers.speed",)


@pytest.mark.parametrize(
    ("source", "slot"),
    [
        ({"source": "https://a.example/me.mp4?sign=x.png"}, "video"),
        ({"source": "volume:a.png"}, "portrait"),
        ({"source": "data:video/mp4;base64,AAAA"}, "video"),
        ({"video": "store:x"}, "video"),
    ],
)
def test_picture_or_video(source: dict[str, str], slot: str) -> None:
    found = recalled({**source, "speakers": [{"text": "a"}]})
    assert found.files == {slot: next(iter(source.values()))}
    assert found.form.kind == {"video": "video", "portrait": "picture"}[slot]


@pytest.mark.parametrize("payload", [None, {"speakers": 7}, {"action": "speak", "text": "a"}])
def test_other_requests_are_refused_with_a_reason(payload: object) -> None:
    with pytest.raises(TalkheadError) as caught:
        recalled(payload)
    assert caught.value.hint


def test_what_does_not_come_back_is_said_with_what_to_do() -> None:
    payload = {
        "portrait": "volume:a.png", "engine": "infinitetalk", "duration": 2,
        "speakers": [{"audio": "data:audio/wav;base64,AA…"}, {"audio": "https://a.example/b.wav"}],
    }  # fmt: skip
    found = recalled(payload)
    said = telling.lacks(found, dict.fromkeys(found.files), "infinitetalk")
    assert said == [
        "The portrait is no longer on the server: choose the file again.",
        "The recording travelled inside the request and was not kept: choose the file again.",
        "The recording of speaker 2 came by a link (https): choose the file itself.",
        "The engine infinitetalk is not ready here: choose another.",
        "The page has no field for: duration.",
    ]
    assert telling.lacks(recalled({**payload, "duration": None}), {}, "") == []
