"""What may be asked for, and how a refusal reads."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkhead.errors import Code, TalkheadError
from talkhead.request import Batch, Size, Speak, Talk
from talkhead.validation import parse

TALK = {"portrait": "library:astronaut.png", "speakers": [{"audio": "library:librivox.flac"}]}


def refused(payload: object) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        parse(payload)
    return caught.value


def test_a_minimal_request_is_talk_with_defaults() -> None:
    request = parse(TALK)
    assert isinstance(request, Talk)
    assert (request.engine, request.fit, request.size, request.fps) == ("auto", "crop", None, None)
    assert request.face_source == ("portrait", "library:astronaut.png")


def test_canonical_form_survives_json() -> None:
    request = parse(
        {
            **TALK,
            "size": "641x480",
            "fps": "30000/1001",
            "turns": "in_turn",
            "speakers": [{"text": "Hi", "voice": "espeak:fr"}, {"audio": "b.wav", "start": 1.5}],
            "sampling": {"seed": 2**63 - 1},
        }
    )
    assert parse(json.loads(request.model_dump_json())) == request
    assert isinstance(request, Talk)
    assert request.fps == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("word", "size"),
    [
        ("512x768", Size(width=512, height=768)),
        (" 512X768 ", Size(width=512, height=768)),
        ("720", Size(long=720)),
        (640, Size(long=640)),
        ("480p", Size(short=480)),
        ({"short": 300}, Size(short=300)),
    ],
)
def test_sizes(word: object, size: Size) -> None:
    request = parse({**TALK, "size": word})
    assert isinstance(request, Talk)
    assert request.size == size


@pytest.mark.parametrize(
    "word", ["big", "512x", "x512", "100x100", "9999", True, {"width": 512}, {"long": 1, "x": 2}]
)
def test_bad_sizes_are_refused(word: object) -> None:
    error = refused({**TALK, "size": word})
    assert error.code is Code.INPUT
    assert any(field.startswith("size") for field in error.fields)


def test_every_bad_field_is_named_at_once() -> None:
    error = refused({"portrait": "", "speakers": [{"text": "x", "lang": "fr"}], "fps": 0})
    assert set(error.fields) >= {"portrait", "speakers.0.lang", "fps"}
    assert "did you mean 'language'?" in error.message


def test_the_nearest_name_is_offered_at_every_level() -> None:
    assert "did you mean 'portrait'?" in refused({**TALK, "portrat": "x"}).message
    assert "did you mean 'seed'?" in refused({**TALK, "sampling": {"sed": 1}}).message
    assert "did you mean 'prefix'?" in refused({**TALK, "output": {"prefx": "a"}}).message


@pytest.mark.parametrize(
    "speaker",
    [
        {},
        {"audio": "a.wav", "text": "both"},
        {"audio": "a.wav", "voice": "espeak"},
        {"text": "  "},
        {"text": "a", "transcript": "a"},
        {"audio": "a.wav", "box": [10, 0, 5, 9]},
        {"audio": "a.wav", "start": 3, "end": 2},
        {"audio": "a.wav", "end": float("inf")},
        {"text": "a", "speed": 9},
    ],
)
def test_incoherent_speakers_are_refused(speaker: dict[str, object]) -> None:
    assert refused({**TALK, "speakers": [speaker]}).code is Code.INPUT


@pytest.mark.parametrize(
    "change",
    [
        {"video": "b.mp4"},
        {"portrait": None},
        {"duration": 1, "max_frames": 5},
        {"options": {"blinks": False}},
        {"sampling": {"seed": -2}},
        {"sampling": {"seed": 2**63}},
        {"speakers": []},
        {"idempotency_key": "../up"},
        {"output": {"name": "a/b"}},
        {"output": {"prefix": "a/../../b"}},
        {"output": {"prefix": "/etc"}},
        {"speakers": [{"audio": "a.wav", "speed": 2}]},
    ],
)
def test_contradictions_are_refused(change: dict[str, object]) -> None:
    assert refused({**TALK, **change}).code is Code.INPUT


def test_later_actions_say_what_there_is() -> None:
    error = refused({"action": "workflow"})
    assert error.code is Code.UNSUPPORTED
    assert "talk, animate, portrait, speak, batch, health, capabilities" in error.hint


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"items": []}, "items", "at least 1 item"),
        ({"items": [TALK] * 101}, "items", "at most 100 items"),
        ({"items": TALK}, "items", ""),
        ({"items": [TALK, {**TALK, "size": "huge"}]}, "items.1.size", "not a size"),
        ({"items": [TALK, {**TALK, "portrat": 1}]}, "items.1.portrat", "did you mean 'portrait'?"),
        ({"items": [{"action": "speak"}]}, "items.0.text", "missing"),
        ({"items": [{"action": "health"}]}, "items.0.action", "talk, animate, portrait, speak"),
        ({"items": [TALK, 5]}, "items.1.action", "an object"),
        ({"items": [{**TALK, "action": ["talk"]}]}, "items.0.action", "an object"),
        ({"items": [{"action": "batch", "items": [TALK]}]}, "items.0.action", "an object"),
        ({"items": [TALK, {**TALK, "priority": 1}]}, "items.1.priority", "whole batch's"),
        ({"items": [{**TALK, "deadline_s": 9}]}, "items.0.deadline_s", "whole batch's"),
        ({"items": [{**TALK, "dry_run": True}]}, "items.0.dry_run", "whole batch's"),
        ({"items": [{**TALK, "idempotency_key": "k"}]}, "items.0.idempotency_key", "say it once"),
        ({"items": [{**TALK, "output": {"prefix": "p"}}]}, "items.0.output.prefix", "thumbnail"),
        ({"items": [TALK], "output": {"stream": True}}, "output.stream", "not streamed"),
        ({"items": [{**TALK, "output": {"stream": True}}]}, "items.0.output.stream", "only name"),
    ],
)
def test_what_a_batch_may_not_be(change: dict[str, object], field: str, says: str) -> None:
    error = refused({"action": "batch", **change})
    assert error.code is Code.INPUT
    assert error.fields == (field,)
    assert says in error.message


def test_a_batch_survives_json_as_it_was_said() -> None:
    own = {**TALK, "priority": 0, "output": {"name": "a", "thumbnail": True}}
    batch = parse({"action": "batch", "items": [own, {"action": "speak", "text": "Hi"}]})
    assert isinstance(batch, Batch)
    again = parse(json.loads(batch.model_dump_json(exclude_unset=True)))
    assert again == batch
    assert isinstance(again, Batch)
    assert again.items[0].output.model_fields_set == {"name", "thumbnail"}


def test_unknown_actions_offer_the_nearest() -> None:
    error = refused({"action": "tlak"})
    assert error.code is Code.INPUT
    assert "did you mean 'talk'?" in error.message


def test_speak_is_a_request_of_its_own() -> None:
    request = parse({"action": "speak", "text": "Hello"})
    assert isinstance(request, Speak)
    assert request.speed == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Talk.model_fields, "other"]), json_values))
def test_nothing_raises_anything_but_a_named_error(payload: dict[str, object]) -> None:
    try:
        parse(payload)
    except TalkheadError as error:
        assert error.code in (Code.INPUT, Code.UNSUPPORTED)


def test_animate_and_portrait_have_their_models() -> None:
    moved = parse({"action": "animate", "portrait": "a.png", "video": "b.mp4", "mode": "animate"})
    assert moved.mode == "animate"
    assert refused({"action": "animate", "portrait": "a.png"}).fields == ("video",)
    drawn = parse({"action": "portrait", "prompt": "a woman", "save_as": "anna"})
    assert (drawn.engine, drawn.save_as) == ("default", "anna")
    assert refused({"action": "portrait", "prompt": "x", "save_as": "../x"}).code is Code.INPUT
