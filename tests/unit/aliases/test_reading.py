"""What becomes of aliases, contradictions, unknown keys, engines and defaults."""

from typing import Any

import pytest

from talkhead.aliases import failure, glance, read, retold
from talkhead.aliases.families import FAMILIES
from talkhead.aliases.family import Family
from talkhead.aliases.reading import MOST_NOTICES
from talkhead.errors import Code, TalkheadError
from talkhead.request import Batch
from talkhead.validation import parse

A, B = "https://a.example/a", "https://a.example/b"


def refused(payload: object) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        read(payload, {})
    assert caught.value.code == Code.INPUT
    return caught.value


def canonical(payload: dict[str, Any], **engines: str) -> dict[str, Any]:
    return read(payload, engines).payload


def codes(payload: dict[str, Any], **engines: str) -> list[tuple[str, str | None]]:
    return [(notice.code, notice.field) for notice in read(payload, engines).notices]


def test_a_canonical_payload_is_passed_on_as_it_is() -> None:
    payload = {"portrait": A, "speakers": [{"audio": B}], "prommpt": "x"}
    assert read(payload, {}).payload is payload
    with pytest.raises(TalkheadError, match="prommpt: unknown field, did you mean 'prompt'"):
        parse(read(payload, {}).payload)


@pytest.mark.parametrize("payload", [None, [], "talk", 7])
def test_what_is_no_object_is_refused(payload: object) -> None:
    assert refused(payload).message == "a request is a JSON object"


HUB = {"image_url": A, "wav_url": B}
FIVE = {"cond_video": A, "cond_audio": {"person1": B}}
OMNI = {"image": "AAAA", "audio_base64": "BBBB"}


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (HUB | {"image_path": "x.png"}, {"image_url", "image_path"}),
        (HUB | {"wav_base64": "AAAA"}, {"wav_url", "wav_base64"}),
        (HUB | {"video_url": A}, {"image_url", "video_url"}),
        (HUB | {"input_type": "video"}, {"input_type", "image_url"}),
        (HUB | {"person_count": "multi"}, {"person_count", "wav_url"}),
        (HUB | {"person_count": "single", "wav_url_2": A},
         {"person_count", "wav_url", "wav_url_2"}),
        (FIVE | {"tts_audio": {"text": "hi"}}, {"cond_audio", "tts_audio"}),
        (OMNI | {"image_base64": "CCCC"}, {"image", "image_base64"}),
        ({"image": A, "audio1": B, "audio": A}, {"audio1", "audio"}),
        ({"action": "lipsync", "portrait_image": "a", "audio": "b", "steps": 1,
          "inference_steps": 2}, {"steps", "inference_steps"}),
        ({"action": "portrait", "description": "a", "prompt": "b"}, {"description", "prompt"}),
        ({"action": "portrait", "prompt": "b", "save_to_avatars": True},
         {"save_to_avatars", "avatar_name"}),
        ({"input_image_url": A, "input_image_minio_path": "b", "driving_video_path": "c"},
         {"input_image_url", "input_image_minio_path"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else "",
)  # fmt: skip
def test_contradictions_name_both_keys(payload: dict[str, Any], fields: set[str]) -> None:
    error = refused(payload)
    assert set(error.fields) == fields
    for field in fields:
        assert field in error.message or "wav_" in field or field == "image_url"


def test_two_keys_that_agree_are_no_contradiction() -> None:
    assert canonical(OMNI | {"image_base64": "AA AA"})["portrait"].endswith("base64,AAAA")


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"wav_url": B}, "image_path"),
        ({"image_url": A, "person_count": "single"}, "wav_path"),
        ({"audio_url": B}, "image_url"),
        ({"image_url": B}, "audio_url"),
        ({"cond_audio": {"person1": B}}, "cond_video"),
        ({"frame_num": 81}, "cond_video"),
        ({"cond_image": A}, "cond_audio"),
        ({"cond_video": A}, "cond_audio"),
        ({"cond_video": A, "bbox": {"person2": [0, 0, 9, 9]}}, "cond_audio"),
        ({"action": "tts"}, "text"),
        ({"action": "lipsync", "audio": "a"}, "portrait_image"),
        ({"input_image_url": A}, "driving_video_path"),
        ({"image_base64": "AAAA"}, "audio"),
    ],
)
def test_what_is_missing_is_told_in_the_familys_words(payload: dict[str, Any], field: str) -> None:
    error = refused(payload)
    assert error.message == f"{field}: missing"
    assert error.fields == (field,)


def test_every_alias_and_every_unknown_key_is_a_warning() -> None:
    payload = HUB | {"prompt": "x", "promt": "y", "priority": 3, "idempotency_key": "k"}
    reading = read(payload, {})
    assert codes(payload) == [
        ("W_ALIAS", "image_url"),
        ("W_ALIAS", "wav_url"),
        ("W_UNKNOWN", "promt"),
    ]
    assert reading.notices[-1].message == "not a key of hub payloads, did you mean 'prompt'?"
    assert (reading.payload["priority"], reading.payload["idempotency_key"]) == (3, "k")
    assert "promt" not in reading.payload


def test_many_unknown_keys_give_a_short_answer() -> None:
    payload = HUB | {f"key {number} {'x' * 500}": "secret" for number in range(900)}
    notices = read(payload, {}).notices
    assert len(notices) == MOST_NOTICES + 1
    assert notices[-1].message == f"and {902 - MOST_NOTICES} more"
    assert codes(payload, infinitetalk="draft")[0] == ("W_COMPAT_ENGINE", "engine")
    text = " ".join(notice.model_dump_json() for notice in notices)
    assert len(text) < 8000
    assert "secret" not in text


def test_null_and_blank_are_keys_left_out() -> None:
    payload = HUB | {"image_path": None, "image_base64": "", "max_frame": None}
    assert read(payload, {}) == read(HUB, {})


@pytest.mark.parametrize("value", ["https://user:pw@a.example/?token=hunter2", {"k": "hunter2"}])
def test_no_value_reaches_a_message(value: object) -> None:
    for key in ("max_frame", "width", "input_type", "force_offload", "seed"):
        assert "hunter2" not in refused(HUB | {key: value}).message


def test_a_graph_without_a_picture_is_told_so() -> None:
    kinds = ["WanVideoImageToVideoMultiTalk", "MultiTalkWav2VecEmbeds", "WanVideoSampler"]
    nodes = {name: {"class_type": name, "inputs": {}} for name in kinds}
    nodes["8"] = {"class_type": "LoadAudio", "inputs": {"audio": "b.wav"}}
    nodes[kinds[1]]["inputs"] = {"audio_1": ["8", 0]}
    error = refused({"workflow": nodes})
    assert (error.message, error.fields) == ("workflow: no portrait or video in it", ("workflow",))


# Engines


def test_an_engine_is_replaced_only_where_the_operator_says_so() -> None:
    assert canonical(FIVE)["engine"] == "infinitetalk"
    assert canonical(FIVE, sonic="draft")["engine"] == "infinitetalk"
    assert canonical(FIVE, infinitetalk="infinitetalk") == canonical(FIVE)


def test_a_replaced_engine_takes_its_own_options_along() -> None:
    payload = FIVE | {"motion_frame": 5, "sample_steps": 9, "use_apg": True}
    reading = read(payload, {"infinitetalk": "draft"})
    assert reading.payload["engine"] == "draft"
    assert "options" not in reading.payload
    assert reading.payload["sampling"] == {"steps": 9, "seed": 42}
    (notice,) = [notice for notice in reading.notices if notice.code == "W_COMPAT_ENGINE"]
    assert notice.message == (
        "engine 'draft' in place of 'infinitetalk', as the operator set; "
        "without infinitetalk's own options.motion_frames, options.apg"
    )


def test_a_replaced_voice_is_not_cloned() -> None:
    payload = {"action": "tts", "text": "hi", "voice_sample": "a.wav", "sample_text": "b"}
    assert canonical(payload)["voice"] == "f5"
    reading = read(payload, {"f5": "espeak"})
    assert reading.payload == {"action": "speak", "text": "hi", "voice": "espeak"}
    assert reading.notices[0].message.endswith("without sample and sample_text")
    spoken = {"cond_video": A, "tts_audio": {"text": "hi", "human1_voice": "weights/am_adam.pt"}}
    assert canonical(spoken)["speakers"] == [{"text": "hi", "voice": "kokoro:am_adam"}]
    assert canonical(spoken, kokoro="espeak")["speakers"][0]["voice"] == "espeak"


# What single families mean


@pytest.mark.parametrize(
    ("more", "frames"),
    [
        ({}, 81),
        ({"frame_num": 41}, 41),
        ({"frame_num": 41, "mode": "streaming"}, 1000),
        ({"mode": "streaming", "max_frame_num": 300, "frame_num": 81}, 300),
        ({"mode": "clip", "max_frame_num": 300}, 81),
    ],
)
def test_the_mode_says_which_frame_count_is_the_limit(more: dict[str, Any], frames: int) -> None:
    assert canonical(FIVE | more)["max_frames"] == frames


@pytest.mark.parametrize(
    ("payload", "frames"),
    [
        ({}, 125),
        ({"video_duration": 2}, 50),
        ({"video_duration": 2, "target_fps": 16}, 32),
        ({"target_video_length": 33}, 33),
        ({"target_video_length": 81, "video_duration": 2}, 50),
    ],
)
def test_lightx2v_takes_the_shorter_limit(payload: dict[str, Any], frames: int) -> None:
    given = {"image_path": "a.png", "audio_path": "b.wav"} | payload
    assert canonical(given)["max_frames"] == frames


def test_a_dialogue_of_one_turn_each() -> None:
    spoken = {"cond_video": A, "tts_audio": {"text": "(s1) Hello. (s2) Good day."}}
    found = canonical(spoken)
    assert [speaker["text"] for speaker in found["speakers"]] == ["Hello.", "Good day."]
    assert found["turns"] == "in_turn"
    for text in ("(s1) a (s2) b (s1) c", "a (s1) b", "(s2) a"):
        assert refused({"cond_video": A, "tts_audio": {"text": text}}).fields == ("tts_audio",)


def test_offload_is_on_where_one_switch_is() -> None:
    memory = [
        canonical(FIVE | more).get("memory")
        for more in (
            {},
            {"offload_model": True},
            {"offload_model": False},
            {"offload_model": False, "num_persistent_param_in_dit": 0},
        )
    ]
    assert memory == [None, {"offload": "block"}, {"offload": "none"}, {"offload": "block"}]


def test_the_picture_has_two_names_and_one_of_them_is_enough() -> None:
    heard = {"cond_audio": {"person1": B}}
    assert canonical({"cond_image": A} | heard) == canonical({"cond_video": A} | heard)
    assert canonical({"cond_image": A, "cond_video": None} | heard)["source"] == A
    both = refused({"cond_image": A, "cond_video": B} | heard)
    assert set(both.fields) == {"cond_image", "cond_video"}
    lacks = refused(heard)
    assert lacks.hint == "it reads as a infinitetalk payload, which needs cond_video or cond_image"


def test_where_results_go_is_the_operators_choice() -> None:
    config = {"store": "volume", "bucket": "mine", "region": "eu"}
    for bad in ("/x y/../", "a/" * 9, 7):
        asked = FIVE | {"output_config": config | {"prefix": bad}}
        assert refused(asked).fields == ("output_config",)
    config["prefix"] = "/x y/z/"
    assert canonical(FIVE | {"output_config": config})["output"] == {
        "inline": False,
        "prefix": "x-y-887fcea6/z",
        "url": "auto",
    }
    fields = [field for code, field in codes(FIVE | {"output_config": config})]
    assert fields[:3] == ["output_config.bucket", "output_config.region", "output_config.store"]
    assert canonical(FIVE | {"output_config": {"store": "inline"}})["output"]["inline"] is True


def test_batches_become_items_with_what_they_share() -> None:
    payload = {"batch": [FIVE, FIVE | {"id": "two", "nope": 1}], "output_config": {"prefix": "p"}}
    reading = read(payload, {})
    assert reading.payload["action"] == "batch"
    assert reading.payload["output"] == {"inline": False, "prefix": "p", "url": "auto"}
    items = reading.payload["items"]
    assert [item.get("output") for item in items] == [None, {"name": "two"}]
    assert isinstance(parse(reading.payload), Batch)
    whole = read({**payload, "priority": 3, "idempotency_key": "k"}, {}).payload
    assert (whole["priority"], whole["idempotency_key"]) == (3, "k")
    assert "batch.1.nope" in [notice.field for notice in reading.notices]
    assert refused({"batch": [FIVE, 7]}).fields == ("batch.1",)
    assert refused({"batch": [FIVE, {"cond_video": A}]}).fields == ("batch.1.cond_audio",)
    assert refused({"batch": [FIVE] * 101}).fields == ("batch",)
    apart = FIVE | {"output_config": {"prefix": "q"}}
    assert refused({"batch": [FIVE, apart]}).fields == ("batch.1.output_config",)


def test_errors_of_a_batch_name_the_old_keys() -> None:
    reading = read({"batch": [FIVE, FIVE | {"sample_steps": 999}]}, {})
    with pytest.raises(TalkheadError) as caught:
        parse(reading.payload)
    assert retold(reading, caught.value).fields == ("batch.1.sample_steps",)
    reading = read({"batch": [FIVE, FIVE | {"priority": 2}]}, {})
    with pytest.raises(TalkheadError, match=r"items\.1\.priority: is the whole batch's"):
        parse(reading.payload)
    absent = TalkheadError(Code.UNSUPPORTED, "none", "install it", fields=["items.1.engine"])
    assert '"infinitetalk"' in retold(reading, absent).hint
    for odd in ("items.9.engine", "items.x.engine", "items.²", "items"):  # keys may be called so
        error = TalkheadError(Code.UNSUPPORTED, "none", "install it", fields=[odd])
        assert retold(glance({"batch": []}), error).hint == retold(reading, error).hint


def test_avatars_are_saved_by_name() -> None:
    asked = {"action": "portrait", "description": "Odin", "save_to_avatars": True}
    assert canonical(asked | {"avatar_name": "odin.png"})["save_as"] == "odin"
    assert refused(asked | {"avatar_name": "../../odin"}).fields == ("avatar_name",)
    unsaved = asked | {"save_to_avatars": False, "avatar_name": "odin"}
    assert "save_as" not in canonical(unsaved)
    assert ("W_IGNORED", "avatar_name") in codes(unsaved)


def test_user_and_avatar_make_the_prefix() -> None:
    asked = {"input_image_url": A, "driving_video_path": "b.mp4"}
    assert canonical(asked | {"user_id": 7, "avatar_id": "a/b c"})["output"] == {
        "prefix": "7/a-b-c-0af99a60"
    }
    assert canonical(asked | {"user_id": "张伟"})["output"]["prefix"] == "a3a0bafd"
    for bad in ("..", "a/../b", "  ", [], True):
        assert refused(asked | {"user_id": bad}).fields == ("user_id",)


def test_defaults_give_way_one_by_one() -> None:
    assert canonical(HUB | {"width": 640})["size"] == {"width": 640, "height": 512}
    assert canonical(OMNI)["size"] == canonical(OMNI | {"max_hw": 720})["size"] == "480p"
    assert canonical(OMNI | {"max_hw": 1280})["size"] == "720p"
    assert canonical(OMNI | {"max_hw": 960})["size"] == {"long": 960}


MINIMAL: dict[str, dict[str, Any]] = {
    "sonic": {"action": "lipsync", "portrait_image": "a", "audio": "b"},
    "sonic-tts": {"action": "tts", "text": "a"},
    "sonic-portrait": {"action": "portrait", "description": "a"},
    "wan-animate": {"input_image_url": A, "driving_video_path": "b"},
    "cog": {"cond_video": A, "cond_audio": B},
    "infinitetalk": FIVE,
    "wanvideo": {"image_url": A, "audio_url": B},
    "hub": HUB,
    "lightx2v": {"image_path": "a", "audio_path": "b"},
    "hub-animate": {"image_url": A, "video_url": B},
    "multigpu": {"image": A, "audio1": B},
    "infinitetalk-api": {"image_base64": "A", "audio_base64": "B", "push_to_s3": False},
    "flashfalcon": {"image_model_url": A, "sound_model_url": B},
    "omniavatar": OMNI,
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_table_of_defaults_is_what_happens(family: Family) -> None:
    if family.name not in MINIMAL:  # comfy needs a graph, a batch its jobs
        assert family.name in ("comfy", "infinitetalk-batch")
        return
    found = canonical(MINIMAL[family.name])
    for path, value in family.defaults.items():
        at: Any = found
        for name in path.split("."):
            at = at[name]
        assert at == value, path


# The old defaults as the documents of the older systems give them.
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"image_url": A, "audio_url": B},
            {
                "size": {"width": 640, "height": 640},
                "steps": 4,
                "engine": "infinitetalk",
                "isolate": "auto",
            },
        ),
        (
            OMNI,
            {"steps": 50, "text_guidance": 4.5, "options": {"overlap": 13}, "engine": "omniavatar"},
        ),
        (
            {"input_image_url": A, "driving_video_path": "b"},
            {"size": {"width": 1280, "height": 720}, "fps": 24, "engine": "wan-animate"},
        ),
        (FIVE, {"size": "480p", "steps": 8, "engine": "infinitetalk"}),
        (
            {"action": "lipsync", "portrait_image": "a", "audio": "b"},
            {"steps": 25, "engine": "sonic"},
        ),
        (HUB, {"size": {"width": 512, "height": 512}, "engine": "infinitetalk"}),
    ],
)
def test_old_defaults(payload: dict[str, Any], expected: dict[str, Any]) -> None:
    found = canonical(payload)
    flat = found | found.get("sampling", {})
    if "speakers" in found:
        flat["isolate"] = found["speakers"][0].get("isolate_vocals")
    assert {key: flat.get(key) for key in expected} == expected


def test_failures_have_the_familys_shape() -> None:
    wire = {"code": "E_OOM", "job_id": "j", "fields": []}
    assert failure(glance(FIVE), wire)["status"] == "error"
    assert failure(glance({"cond_video": A, "cond_audio": B}), wire) == {"status": "failed"}
    assert failure(glance(HUB), wire) == {}
    assert failure(glance({"action": "health"}), wire) == {}


def test_a_payload_of_too_many_keys_is_refused_at_once() -> None:
    with pytest.raises(TalkheadError, match="700000 keys are over the limit of 1000") as caught:
        read({f"k{number}": 1 for number in range(700_000)}, {})
    assert caught.value.code is Code.INPUT
