"""What an older payload may say in this version's words, and which links its answer holds."""

from typing import Any

import pytest

from talkhead.aliases import read
from talkhead.errors import Code, TalkheadError
from talkhead.validation import parse

A, B = "https://a.example/a", "https://a.example/b"
HUB = {"image_url": A, "wav_url": B}
FIVE = {"cond_video": A, "cond_audio": {"person1": B}}
OMNI = {"image": "AAAA", "audio_base64": "BBBB"}
TALKS: dict[str, dict[str, Any]] = {
    "sonic": {"action": "lipsync", "portrait_image": "a", "audio": "b"},
    "cog": {"cond_video": A, "cond_audio": B},
    "infinitetalk": FIVE,
    "wanvideo": {"image_url": A, "audio_url": B},
    "hub": HUB,
    "lightx2v": {"image_path": "a", "audio_path": "b"},
    "multigpu": {"image": A, "audio1": B},
    "infinitetalk-api": {"image_base64": "A", "audio_base64": "B", "push_to_s3": False},
    "flashfalcon": {"image_model_url": A, "sound_model_url": B},
    "omniavatar": OMNI,
}
ANIMATE = {"input_image_url": A, "driving_video_path": "b"}


def refused(payload: object) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        read(payload, {})
    assert caught.value.code == Code.INPUT
    return caught.value


def codes(payload: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(notice.code, notice.field) for notice in read(payload, {}).notices]


@pytest.mark.parametrize("name", TALKS)
def test_fit_and_output_of_this_version_may_be_added(name: str) -> None:
    output = {"url": "public", "expires_s": 600, "thumbnail": False, "store": "b", "score": True}
    payload = TALKS[name] | {"fit": "face", "output": output | {"prefix": "p", "name": "n"}}
    reading = read(payload, {})
    assert reading.payload["fit"] == "face"
    assert (
        output.items() | {"prefix": "p", "name": "n"}.items() <= reading.payload["output"].items()
    )
    plain = read(TALKS[name], {})
    assert reading.notices == plain.notices  # neither another name nor an unknown one
    inline = plain.payload.get("output", {}).get("inline")
    assert reading.payload["output"].get("inline") == inline
    assert parse(reading.payload).output.url == "public"


@pytest.mark.parametrize("output", ["signed", [], {"inline": True}, {"stream": True}, {7: 8}])
def test_what_output_may_not_say_in_an_older_payload(output: object) -> None:
    error = refused(HUB | {"output": output})
    assert error.fields == ("output",)
    assert "url, expires_s" in error.message or "an object" in error.message


@pytest.mark.parametrize(
    ("payload", "output", "other"),
    [
        (FIVE | {"id": "a"}, {"name": "b"}, "id"),
        (FIVE | {"output_config": {"prefix": "a"}}, {"prefix": "b"}, "output_config"),
        (ANIMATE | {"user_id": "a"}, {"prefix": "b"},
         "user_id"),
    ],
)  # fmt: skip
def test_output_and_an_older_key_may_not_contradict(
    payload: dict[str, Any], output: dict[str, str], other: str
) -> None:
    error = refused(payload | {"output": output})
    assert {name.partition(".")[0] for name in error.fields} == {other, "output"}


@pytest.mark.parametrize(
    ("name", "url"),
    [("wanvideo", "auto"), ("infinitetalk", "auto"), ("infinitetalk-api", "auto"), ("hub", None),
     ("sonic", None)],
)  # fmt: skip
def test_links_are_public_where_they_were(name: str, url: str | None) -> None:
    assert read(TALKS[name], {}).payload.get("output", {}).get("url") == url
    asked = TALKS[name] | {"output": {"url": "signed"}}
    assert read(asked, {}).payload["output"]["url"] == "signed"


def test_a_key_that_kept_its_name_is_no_alias() -> None:
    payload = FIVE | {"size": "infinitetalk-720", "prompt": "x", "audio_type": "add"}
    fields = [field for _, field in codes(payload)]
    assert fields == ["cond_video", "cond_audio", "audio_type"]
    lipsync = TALKS["sonic"] | {"fps": "25"}
    assert [field for _, field in codes(lipsync)] == ["portrait_image", "audio"]


def test_an_operator_may_set_what_an_older_payload_leaves_out() -> None:
    defaults = {"size": "720p", "steps": 12, "teacache": True, "apg": True}
    told = read(FIVE, {}, defaults).payload
    assert (told["size"], told["sampling"]["steps"]) == ("720p", 12)
    assert (told["options"]["teacache_threshold"], told["options"]["apg"]) == (0.2, True)
    said = {"size": "infinitetalk-480", "sample_steps": 4, "use_teacache": False, "use_apg": False}
    told = read(FIVE | said, {}, defaults).payload
    assert (told["size"], told["sampling"]["steps"]) == ("480p", 4)
    assert not {"teacache_threshold", "apg"} & told["options"].keys()
    batch = read({"batch": [FIVE, FIVE | {"sample_steps": 4}]}, {}, defaults).payload
    assert [job["sampling"]["steps"] for job in batch["items"]] == [12, 4]
    assert read(TALKS["cog"], {}, defaults) == read(TALKS["cog"], {})
    assert read(FIVE, {}, {}) == read(FIVE, {})


def test_what_an_operator_set_is_not_told_as_the_callers_loss() -> None:
    engines, defaults = {"infinitetalk": "draft"}, {"apg": True, "teacache": True}
    notices = read(FIVE, engines, defaults).notices
    assert [note.message for note in notices if note.code == "W_COMPAT_ENGINE"] == [
        "engine 'draft' in place of 'infinitetalk', as the operator set"
    ]
    notices = read(FIVE | {"use_apg": True}, engines, defaults).notices
    (told,) = [note.message for note in notices if note.code == "W_COMPAT_ENGINE"]
    assert told.endswith("as the operator set; without infinitetalk's own options.apg")
