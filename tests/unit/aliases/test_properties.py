"""What holds for every payload: canonical ones stay as they are, and no input breaks the reader."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from talkhead.aliases import answer, glance, read
from talkhead.aliases.families import FAMILIES
from talkhead.aliases.reading import MOST_NOTICES
from talkhead.errors import Code, TalkheadError
from talkhead.request import ACTIONS
from talkhead.result import Result
from talkhead.validation import parse

words = st.text(min_size=1, max_size=12).filter(lambda word: word.strip())
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,20}", fullmatch=True)
refs = st.one_of(words, names.map("library:{}".format), names.map("https://a.example/{}".format))
sides = st.integers(256, 4096)
seconds = st.floats(0.5, 80_000)

sizes = st.one_of(
    st.fixed_dictionaries({"width": sides, "height": sides}),
    st.fixed_dictionaries({"long": sides}),
    st.sampled_from(["480p", "512x512", 640]),
)
samplings = st.fixed_dictionaries(
    {},
    optional={
        "steps": st.integers(1, 200),
        "text_guidance": st.floats(0, 50),
        "shift": st.floats(0.1, 50),
        "seed": st.integers(-1, 2**63 - 1),
    },
)
outputs = st.fixed_dictionaries(
    {}, optional={"prefix": names, "name": names, "inline": st.booleans(), "url": st.just("none")}
)
heard = st.fixed_dictionaries(
    {"audio": refs},
    optional={"transcript": words, "isolate_vocals": st.sampled_from([True, "auto"])},
)
spoken = st.fixed_dictionaries(
    {"text": words}, optional={"voice": names, "sample": refs, "speed": st.floats(0.25, 4)}
)
COMMON = {
    "output": outputs,
    "idempotency_key": names,
    "priority": st.integers(-100, 100),
    "deadline_s": seconds,
    "dry_run": st.booleans(),
}
FILM = COMMON | {
    "prompt": words,
    "negative_prompt": words,
    "engine": names,
    "size": sizes,
    "fit": st.sampled_from(["crop", "pad", "face"]),
    "fps": st.sampled_from([24, 25.0, "30000/1001"]),
    "max_frames": st.integers(1, 10**6),
    "quality": st.sampled_from(["draft", "best"]),
    "late": st.sampled_from(["warn", "refuse"]),
    "sampling": samplings,
    "memory": st.fixed_dictionaries({"offload": st.sampled_from(["auto", "block"])}),
}


def talks(face: str, action: bool) -> st.SearchStrategy[dict[str, Any]]:
    fixed = {face: refs, "speakers": st.lists(heard | spoken, min_size=1, max_size=8)}
    if action:
        fixed["action"] = st.just("talk")
    turns = {"turns": st.sampled_from(["together", "in_turn"])}
    return st.fixed_dictionaries(fixed, optional=FILM | turns)


def acting(action: str, needs: dict[str, Any], optional: dict[str, Any]) -> Any:
    return st.fixed_dictionaries({"action": st.just(action)} | needs, optional=optional)


canonical = st.one_of(
    [talks(face, action) for face in ("portrait", "video", "source") for action in (True, False)]
    + [
        acting("animate", {"portrait": refs, "video": refs}, FILM | {"mode": st.just("animate")}),
        acting("speak", {"text": words}, COMMON | {"voice": names, "sample": refs}),
        acting("portrait", {"prompt": words}, COMMON | {"size": sizes, "save_as": st.just("odin")}),
        acting("health", {}, {"self_test": st.booleans()}),
        acting("capabilities", {}, {}),
    ]
)


@given(canonical)
def test_a_canonical_request_stays_as_it_is(payload: dict[str, Any]) -> None:
    before = json.dumps(payload)
    request = parse(payload)
    for form in (payload, json.loads(request.model_dump_json())):
        reading = read(form, {"infinitetalk": "draft"})
        assert (reading.family, reading.notices) == ("talkhead", ())
        assert reading.payload == form
        assert parse(reading.payload) == request
    assert json.dumps(payload) == before


numbers = st.one_of(
    st.integers(),
    st.sampled_from([10**4000, -(10**400), 2**63, 2**63 - 1, -1, 0]),
    st.floats(),
)
texts = st.one_of(
    st.text(alphabet=st.characters(), max_size=20),  # surrogates too
    st.sampled_from(["", " ", "../x", "/etc/passwd", "\ud800", "\x00", "(s1) a (s2) b", "nan"]),
)
arbitrary = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
KEYS = sorted({key for family in FAMILIES for key in family.keys} | {"action", "priority"})
ACTION_WORDS = ["lipsync", "tts", "portrait", *ACTIONS]
links = st.lists(st.one_of(st.sampled_from(["192", "194", "213", "a"]), arbitrary), max_size=2)
graph_inputs = st.dictionaries(
    st.sampled_from(
        [
            "audio_1",
            "audio_2",
            "start_image",
            "num_frames",
            "fps",
            "steps",
            "seed",
            "width",
            "image",
            "audio",
            "value",
            "start_time",
            "end_time",
            "blocks_to_swap",
            "frame_rate",
        ]
    ),
    st.one_of(arbitrary, links),
)
graph_classes = st.sampled_from(
    [
        "WanVideoImageToVideoMultiTalk",
        "MultiTalkWav2VecEmbeds",
        "WanVideoSampler",
        "AudioCrop",
        "LoadImage",
        "LoadAudio",
        "INTConstant",
        "VHS_VideoCombine",
        "Other",
    ]
)
graphs = st.dictionaries(
    st.sampled_from(["131", "134", "135", "159", "171", "192", "194", "207", "213", "214", "a"]),
    st.one_of(
        arbitrary,
        st.fixed_dictionaries({"class_type": graph_classes, "inputs": graph_inputs}),
    ),
    max_size=8,
)
near = st.dictionaries(st.sampled_from(KEYS), arbitrary, max_size=6)
hostile = st.one_of(
    arbitrary,
    near,
    st.builds(lambda one, two: one | {"action": two}, near, st.sampled_from(ACTION_WORDS)),
    st.builds(lambda one, graph: one | {"workflow": graph}, near, graphs),
    st.builds(lambda one: {"batch": [one, one]}, near),
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(hostile, st.dictionaries(st.sampled_from(["sonic", "infinitetalk", "f5"]), names))
def test_nothing_breaks_the_reader(payload: Any, engines: dict[str, str]) -> None:
    survives(payload, engines)


def survives(payload: Any, engines: dict[str, str]) -> None:
    family = glance(payload).family
    try:
        reading = read(payload, engines)
    except TalkheadError as error:
        assert error.code == Code.INPUT
        assert error.fields or not isinstance(payload, dict)
        assert len(error.message) < 1000
        return
    assert reading.family == family
    assert len(reading.notices) <= MOST_NOTICES + 1
    for notice in reading.notices:
        assert len(notice.model_dump_json()) < 1000
    answer(reading, Result(action="talk", version="0"))
    with contextlib.suppress(TalkheadError):
        parse(reading.payload)


def deep(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"person1": [value]}
    return value


EXTREMES = {
    "deep audio": {"cond_video": deep(50_000), "cond_audio": deep(50_000)},
    "deep graph": {"workflow": deep(50_000), "images": deep(50_000)},
    "batch in batch": {"batch": [{"cond_video": "a", "batch": [{}]}]},
    "long references": {"wav_url": "x" * 10**6, "image_path": "/" * 10**6},
    "huge id": {"user_id": 10**5000, "input_image_url": "a", "driving_video_path": "b"},
    "huge seed": {"seed": 10**5000, "action": "lipsync", "portrait_image": "a", "audio": "b"},
    "huge duration": {"video_duration": 10**5000, "audio_path": "a", "image_path": "b"},
    "huge link": {"workflow": {"192": {"inputs": {"motion_frame": 1, "width": [10**5000, 0]}}}},
    "surrogates": {"audio_url": "a", "image_url": "\ud800", "\ud800\x00" * 99: 1},
    "keys that are no text": {"audio_url": "a", 7: 8, None: 9, (1, 2): 3},
    "circle": {
        "audio_url": "a",
        "workflow": {
            "192": {
                "class_type": "WanVideoImageToVideoMultiTalk",
                "inputs": {"start_image": ["x", 0], "width": ["y", 0]},
            },
            "194": {"class_type": "MultiTalkWav2VecEmbeds", "inputs": {"audio_1": ["x", 0]}},
            "213": {"class_type": "WanVideoSampler", "inputs": {"seed": ["y", 0]}},
            "x": {"class_type": "Any", "inputs": {"image": ["x", 0], "audio": ["x", 0]}},
            "y": {"class_type": "Any", "inputs": {"value": ["y", 0]}},
        },
    },
    "graph of nonsense": {
        "audio_url": "a",
        "image_url": "b",
        "workflow": {
            "171": {"class_type": "ImageResizeKJv2", "inputs": {"keep_proportion": deep(50_000)}},
            "192": {
                "class_type": "WanVideoImageToVideoMultiTalk",
                "inputs": {"width": deep(50_000), "colormatch": deep(9), "motion_frame": 10**5000},
            },
            "194": {
                "class_type": "MultiTalkWav2VecEmbeds",
                "inputs": {
                    "audio_1": ["217", 0],
                    "audio_2": ["217", 0],
                    "multi_audio_type": deep(50_000),
                    "num_frames": "9" * 5000,
                },
            },
            "213": {"class_type": "WanVideoSampler", "inputs": {"seed": 10**5000, "cfg": [[]]}},
            "217": {"class_type": "LoadAudio", "inputs": {"audio": "a.wav"}},
        },
    },
    "many keys": {"audio_url": "a"} | {f"key {number}": number for number in range(10_000)},
    "many nodes": {"workflow": {str(number): {"class_type": "A"} for number in range(10_000)}},
}


@pytest.mark.parametrize("payload", EXTREMES.values(), ids=EXTREMES)
def test_extremes(payload: Any) -> None:
    survives(payload, {})


@given(st.sampled_from(FAMILIES), near)
def test_a_family_always_names_its_engine(family: Any, values: dict[str, Any]) -> None:
    try:
        reading = read(values, {})
    except TalkheadError:
        return
    if reading.payload.get("action") in ("talk", "animate") and reading.family != "talkhead":
        engines = {family.name: family.engine for family in FAMILIES}
        assert reading.payload["engine"] == engines[reading.family] != "draft"
