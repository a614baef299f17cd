"""Which ComfyUI graphs are read as a talking portrait, and what of them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from talkhead.aliases import graph, read, retold
from talkhead.errors import Code, TalkheadError
from talkhead.validation import parse

GOLDEN = Path(__file__).parents[2] / "goldens" / "aliases" / "comfy.json"
WANVIDEO: dict[str, Any] = json.loads(GOLDEN.read_text())["payload"]["workflow"]
NOTHING = (
    "it has no WanVideoImageToVideoMultiTalk, no MultiTalkWav2VecEmbeds, no WanVideoSampler "
    "node, or several"
)
A, B = "https://a.example/a", "https://a.example/b"


def changed(**inputs: dict[str, Any]) -> dict[str, Any]:
    """Return WanVideo's graph with other inputs, by node id without its leading n."""
    nodes = copy.deepcopy(WANVIDEO)
    for name, values in inputs.items():
        nodes[name[1:]]["inputs"] |= values
    return nodes


def found(nodes: dict[str, Any]) -> dict[str, Any]:
    values = graph.read(nodes, {})
    assert isinstance(values, dict), values
    return values


def test_the_wanvideo_graph() -> None:
    assert found(WANVIDEO) == {
        "speakers.0.audio": "library:1.mp3",
        "speakers.0.isolate_vocals": "auto",
        "portrait": "library:3.png",
        "size.width": 639,
        "size.height": 640,
        "fit": "pad",
        "fps": 25.0,
        "max_frames": 175,  # 225 frames, and 7 s of sound
        "sampling.steps": 4,
        "sampling.text_guidance": 1.0,
        "sampling.audio_guidance": 1.0,
        "sampling.shift": 11.0,
        "sampling.seed": 0,
        "prompt": "A woman is talking",
        "negative_prompt": "bright tones, overexposed, static",
        "options.motion_frames": 9,
        "options.window": 81,
        "options.audio_scale": 1.2,
        "options.vae_tiling": True,
        "memory.offload": "block",
    }


def test_roles_count_and_not_ids() -> None:
    names = {name: f"node {number}" for number, name in enumerate(WANVIDEO)}

    def renamed(value: Any) -> Any:
        if isinstance(value, list) and value and value[0] in names:
            return [names[value[0]], *value[1:]]
        return value

    nodes = {
        names[name]: node
        | {"inputs": {key: renamed(value) for key, value in node["inputs"].items()}}
        for name, node in WANVIDEO.items()
    }
    assert found(nodes) == found(WANVIDEO)


def test_ids_settle_what_classes_do_not() -> None:
    nodes = changed()
    nodes["192"]["class_type"] = "MyOwnInfiniteTalk"
    nodes["900"] = copy.deepcopy(nodes["213"])
    nodes["900"]["inputs"]["steps"] = 50
    assert found(nodes) == found(WANVIDEO)
    del nodes["213"]
    nodes["901"] = nodes["900"]
    assert graph.read(nodes, {}) == "it has no WanVideoSampler node, or several"


def test_constants_by_id_where_no_link_leads_to_them() -> None:
    nodes = changed(n192={"width": ["no", 0], "height": None}, n194={"num_frames": ["171", 0]})
    nodes["171"]["inputs"] |= {"width": ["207", 0], "height": ["207", 1]}
    values = found(nodes)
    assert (values["size.width"], values["size.height"], values["max_frames"]) == (639, 640, 175)


@pytest.mark.parametrize(
    ("inputs", "path", "value"),
    [
        ({"n159": {"end_time": "0:01"}}, "max_frames", 25),
        ({"n159": {"end_time": "1:00:00"}}, "max_frames", 225),
        ({"n159": {"end_time": "soon"}}, "max_frames", 225),
        ({"n214": {"value": 81}}, "max_frames", 81),
        ({"n194": {"num_frames": 49}}, "max_frames", 49),
        ({"n131": {"frame_rate": 30}}, "fps", 30),
        ({"n213": {"seed": 2**64}}, "sampling.seed", 0),
        ({"n213": {"steps": ["210", 0]}}, "sampling.steps", 639),
        ({"n192": {"colormatch": "disabled"}}, "options.color_strength", 0.0),
        ({"n194": {"normalize_loudness": False}}, "options.normalize_loudness", False),
        ({"n171": {"keep_proportion": "crop"}}, "fit", "crop"),
        ({"n194": {"audio_1": ["159", 0]}}, "speakers.0.isolate_vocals", None),
        ({"n134": {"blocks_to_swap": 0}, "n213": {"force_offload": False}}, "memory.offload", None),
        ({"n207": {"image": "in/3.png [input]"}}, "portrait", "library:in/3.png"),
    ],
)
def test_what_nodes_say(inputs: dict[str, Any], path: str, value: Any) -> None:
    assert found(changed(**inputs)).get(path) == value


def test_two_voices_and_a_video() -> None:
    nodes = changed(n194={"audio_2": ["500", 0], "multi_audio_type": "add"})
    nodes["500"] = {"class_type": "LoadAudio", "inputs": {"audio": "2.wav"}}
    nodes["207"] = {"class_type": "VHS_LoadVideo", "inputs": {"video": "clip.mp4"}}
    values = found(nodes)
    assert values["speakers.1.audio"] == "library:2.wav"
    assert "speakers.1.isolate_vocals" not in values
    assert values["turns"] == "in_turn"
    assert (values["video"], "portrait" in values) == ("library:clip.mp4", False)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({}, NOTHING),
        ({"nodes": [], "links": []}, NOTHING),
        (changed(n159={"start_time": "0:02"}), "it cuts off the beginning of the sound"),
        (changed(n217={"audio": 7}), "no file can be found for one of its voices"),
        (changed(n170={"audio": ["170", 0]}), "no file can be found for one of its voices"),
    ],
)
def test_what_is_no_talking_portrait(nodes: dict[str, Any], reason: str) -> None:
    assert graph.read(nodes, {}) == reason


def test_the_payload_comes_before_the_graph() -> None:
    reading = read({"image_url": A, "audio_url": B, "width": 512, "workflow": WANVIDEO}, {})
    assert reading.payload["portrait"] == A
    assert reading.payload["speakers"] == [{"audio": B, "isolate_vocals": "auto"}]
    assert reading.payload["size"] == {"width": 512, "height": 640}
    assert reading.notices[0].code == "W_GRAPH"


def test_uploaded_files_go_by_name() -> None:
    files = [{"name": "3.png", "image": "AAAA"}, {"name": "1.mp3", "image": "data:a/b;base64,BBBB"}]
    found = read({"workflow": WANVIDEO, "images": files}, {}).payload
    assert found["portrait"] == "data:application/octet-stream;base64,AAAA"
    assert found["speakers"][0]["audio"] == "data:a/b;base64,BBBB"
    assert found["output"] == {"inline": True}


@pytest.mark.parametrize("beside", [{}, {"image_url": A, "audio_url": B}])
def test_an_unknown_graph_is_a_workflow_that_nothing_runs_yet(beside: dict[str, str]) -> None:
    nodes = {"3": {"class_type": "KSampler", "inputs": {}}}
    reading = read({"workflow": nodes, **beside}, {"infinitetalk": "draft"})
    assert reading.payload == {"action": "workflow", "workflow": nodes}
    assert f"not a talking portrait: {NOTHING}" in reading.notices[0].message
    assert any("leave workflow out" in note.message for note in reading.notices) == bool(beside)
    with pytest.raises(TalkheadError) as caught:
        parse(reading.payload)
    assert caught.value.code == Code.UNSUPPORTED
    told = retold(reading, caught.value)
    assert NOTHING in told.hint
    assert ("leave workflow out" in told.hint) == bool(beside)
    assert told.fields == ("workflow",)


def test_seed_0_of_wanvideos_graph_is_random() -> None:
    both = {"image_url": A, "audio_url": B}
    reading = read({"workflow": WANVIDEO} | both, {})
    assert reading.payload["sampling"]["seed"] == -1
    assert "seed 0 is random" in " ".join(notice.message for notice in reading.notices)
    seven = changed(n213={"seed": 7})
    assert read({"workflow": seven} | both, {}).payload["sampling"]["seed"] == 7
    comfy = {"workflow": WANVIDEO}  # there 0 was a seed like any other
    assert read(comfy, {}).payload["sampling"]["seed"] == 0
