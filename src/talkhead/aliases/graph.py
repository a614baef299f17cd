"""A ComfyUI graph in API format, read as a talking portrait by what its nodes are and do.

Only graphs around WanVideoWrapper's InfiniteTalk and MultiTalk nodes are known. A node's class says
its role; where that does not settle it, the node ids of the WanVideo worker do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from talkhead.aliases import keys

Node = Mapping[str, Any]
Graph = Mapping[str, Any]
MOST_STEPS = 16  # nodes between a use and its source; also the end of a circle
VOICES = 4


@dataclass(frozen=True, slots=True)
class Role:
    """What a node is there for: its classes, its id in WanVideo's graph, and an input it must have.

    A node of an unknown class with that id and that input is taken for it.
    """

    classes: tuple[str, ...]
    hint: str
    mark: str
    about: str


ROLES = {
    "scene": Role(
        ("WanVideoImageToVideoMultiTalk",),
        "192",
        "motion_frame",
        "portrait, size, motion frames, window, VAE tiling",
    ),
    "speech": Role(
        ("MultiTalkWav2VecEmbeds",),
        "194",
        "num_frames",
        "recordings, frame limit, audio guidance and scale, together or in turn",
    ),
    "sampler": Role(("WanVideoSampler",), "213", "steps", "steps, cfg, shift, seed, offload"),
    "prompt": Role(
        ("WanVideoTextEncode", "WanVideoTextEncodeCached"),
        "135",
        "positive_prompt",
        "prompt, negative prompt",
    ),
    "swap": Role(("WanVideoBlockSwap",), "134", "blocks_to_swap", "offload"),
    "crop": Role(("AudioCrop",), "159", "end_time", "frame limit; a start other than 0 is refused"),
    "film": Role(("VHS_VideoCombine",), "131", "frame_rate", "frames per second"),
    "fit": Role(("ImageResizeKJv2",), "171", "keep_proportion", "size, crop or pad"),
}
# Constants of WanVideo's graph, for where no link leads to them.
WIDTH, HEIGHT, FRAMES, FPS = "210", "211", "214", "229"
IMAGES = {"LoadImage": ("image", "portrait"), "VHS_LoadVideo": ("video", "video")}
IMAGES |= {"VHS_LoadVideoPath": ("video", "video"), "LoadVideo": ("file", "video")}
SOUNDS = {"LoadAudio": "audio", "VHS_LoadAudio": "audio_file", "VHS_LoadAudioUpload": "audio"}
SEPARATORS = ("AudioSeparation", "MelBandRoFormerSampler")
UPSTREAM = ("audio", "image", "images", "audio_1", "frames")
FITS = {"crop": "crop", "pad": "pad", "pad_edge": "pad", "pad_edge_pixel": "pad"}


def read(graph: Graph, files: Mapping[str, str]) -> dict[str, Any] | str:
    """Return canonical paths and values, or in words why this is no talking portrait.

    `files` are references by the names that its loaders use; other names are of the library.
    """
    nodes = {role: _node(graph, role) for role in ROLES}
    scene, speech, sampler = nodes["scene"], nodes["speech"], nodes["sampler"]
    if scene is None or speech is None or sampler is None:
        lacks = [role for role in ("scene", "speech", "sampler") if nodes[role] is None]
        classes = ", no ".join(" or ".join(ROLES[role].classes) for role in lacks)
        return f"it has no {classes} node, or several"
    found: dict[str, Any] = {}
    heard = _sounds(graph, speech, files)
    if isinstance(heard, str):
        return heard
    end = heard.pop("_.end", None)
    found |= heard | _picture(graph, scene, files)
    found |= _size(graph, scene, nodes["fit"]) | _length(graph, speech, nodes["film"], end)
    found |= _sampling(graph, sampler, speech) | _prompts(graph, sampler, nodes["prompt"])
    return found | _options(graph, scene, speech) | _memory(sampler, nodes["swap"])


def _inputs(node: Node | None) -> Mapping[str, Any]:
    inputs = node.get("inputs") if node else None
    return inputs if isinstance(inputs, dict) else {}


def _class(node: Node | None) -> str:
    name = node.get("class_type") if node else None
    return name if isinstance(name, str) else ""


def _node(graph: Graph, role: str) -> Node | None:
    """Return the one node of a role, or None where there is none or no telling which."""
    wanted = ROLES[role]
    alike = {
        name: node
        for name, node in graph.items()
        if isinstance(node, dict) and _class(node) in wanted.classes
    }
    if len(alike) == 1:
        return next(iter(alike.values()))
    if alike:
        return alike.get(wanted.hint)
    hinted = graph.get(wanted.hint)
    known = isinstance(hinted, dict) and wanted.mark in _inputs(hinted)
    return hinted if known and _class(hinted) not in _KNOWN else None


_KNOWN = {name for role in ROLES.values() for name in role.classes} | {*IMAGES, *SOUNDS}


def _linked(graph: Graph, value: Any) -> Node | None:
    """Return the node that a link leads to."""
    if not isinstance(value, list) or not value or not isinstance(value[0], str | int):
        return None
    name = value[0] if isinstance(value[0], str) else _digits(value[0])
    node = graph.get(name)
    return node if isinstance(node, dict) else None


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**9 else ""


def _number(graph: Graph, value: Any) -> float | None:
    """Return a number, or that of the constant that a link leads to."""
    for _ in range(MOST_STEPS):
        try:
            return keys.number(value)
        except keys.UnfitError:
            inputs = _inputs(_linked(graph, value))
            value = inputs.get("value")
            if value is None:
                return None
    return None


def _whole(graph: Graph, value: Any) -> int | None:
    found = _number(graph, value)
    return int(found) if found is not None else None


def _walk(graph: Graph, value: Any) -> list[Node]:
    """Return the nodes from a use up to its source."""
    path: list[Node] = []
    node = _linked(graph, value)
    while node is not None and len(path) < MOST_STEPS:
        path.append(node)
        inputs = _inputs(node)
        links = [inputs[name] for name in UPSTREAM if isinstance(inputs.get(name), list)]
        node = _linked(graph, links[0]) if links else None
    return path


def _word(table: Mapping[str, str], value: Any) -> str | None:
    return table.get(value) if isinstance(value, str) else None


def _file(name: Any, files: Mapping[str, str]) -> str | None:
    if not isinstance(name, str) or not name.strip():
        return None
    name = re.sub(r" \[(input|output|temp)\]$", "", name.strip())
    try:
        return files.get(name) or keys.library(name)
    except keys.UnfitError:
        return None


def _sounds(graph: Graph, speech: Node, files: Mapping[str, str]) -> dict[str, Any] | str:
    """Return each voice's recording; a "_.end" is where a crop ends, in seconds."""
    found: dict[str, Any] = {}
    inputs = _inputs(speech)
    linked = [inputs[name] for n in range(VOICES) if (name := f"audio_{n + 1}") in inputs]
    for index, link in enumerate(linked):
        path = _walk(graph, link)
        source = next((node for node in path if _class(node) in SOUNDS), None)
        file = _file(_inputs(source).get(SOUNDS[_class(source)]), files) if source else None
        if file is None:
            return "no file can be found for one of its voices"
        found[f"speakers.{index}.audio"] = file
        if any(_class(node) in SEPARATORS for node in path):
            found[f"speakers.{index}.isolate_vocals"] = "auto"
        crop = next((node for node in path if _class(node) in ROLES["crop"].classes), None)
        begin = _seconds(_inputs(crop).get("start_time", 0)) if crop else 0.0
        if begin != 0:
            return "it cuts off the beginning of the sound"
        end = _seconds(_inputs(crop).get("end_time")) if crop else None
        if end:
            found["_.end"] = max(end, found.get("_.end", 0.0))
    if len(linked) > 1:
        turns = {"para": "together", "add": "in_turn"}
        found["turns"] = _word(turns, inputs.get("multi_audio_type")) or "together"
    return found


def _seconds(value: Any) -> float | None:
    """Return seconds from 7, "7.5", "0:07" or "1:00:07"."""
    parts = value.split(":") if isinstance(value, str) else [value]
    try:
        numbers = [keys.number(part) for part in parts[-3:]]
    except keys.UnfitError:
        return None
    total = 0.0
    for part in numbers:
        total = total * 60 + part
    return total


def _picture(graph: Graph, scene: Node, files: Mapping[str, str]) -> dict[str, Any]:
    path = _walk(graph, _inputs(scene).get("start_image"))
    source = next((node for node in path if _class(node) in IMAGES), None)
    if source is None:  # a link that we cannot follow; one loader alone leaves no doubt
        nodes = [node for node in graph.values() if isinstance(node, dict)]
        alone = [node for node in nodes if _class(node) in IMAGES]
        source = alone[0] if len(alone) == 1 else None
    if source is None:
        return {}
    name, to = IMAGES[_class(source)]
    file = _file(_inputs(source).get(name), files)
    return {to: file} if file else {}


def _size(graph: Graph, scene: Node, resize: Node | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, hint in (("width", WIDTH), ("height", HEIGHT)):
        places = [_inputs(scene).get(name), _inputs(resize).get(name), [hint, 0]]
        sizes = [_whole(graph, place) for place in places]
        size = next((size for size in sizes if size), None)
        if size:
            found[f"size.{name}"] = size
    way = _word(FITS, _inputs(resize).get("keep_proportion"))
    return found | ({"fit": way} if way else {})


def _length(graph: Graph, speech: Node, film: Node | None, end: float | None) -> dict[str, Any]:
    """Return frames per second, and as the limit the shorter of frame count and crop (seconds)."""
    rates = [_inputs(film).get("frame_rate"), _inputs(speech).get("fps"), [FPS, 0]]
    fps = next((rate for place in rates if (rate := _number(graph, place))), None)
    counts = [_inputs(speech).get("num_frames"), [FRAMES, 0]]
    frames = next((count for place in counts if (count := _whole(graph, place))), None)
    limits = [limit for limit in (frames, round(end * (fps or 25)) if end else None) if limit]
    found: dict[str, Any] = {"fps": fps} if fps else {}
    return found | ({"max_frames": min(limits)} if limits else {})


def _sampling(graph: Graph, sampler: Node, speech: Node) -> dict[str, Any]:
    inputs = _inputs(sampler)
    numbers = {
        "sampling.steps": _whole(graph, inputs.get("steps")),
        "sampling.text_guidance": _number(graph, inputs.get("cfg")),
        "sampling.audio_guidance": _number(graph, _inputs(speech).get("audio_cfg_scale")),
        "sampling.shift": _number(graph, inputs.get("shift")),
        "sampling.seed": _seed(graph, inputs.get("seed")),
    }
    return {path: value for path, value in numbers.items() if value is not None}


def _seed(graph: Graph, value: Any) -> int | None:
    linked = _linked(graph, value)
    given = _inputs(linked).get("value", _inputs(linked).get("seed")) if linked else value
    try:
        return keys.seed(given)
    except keys.UnfitError:
        return None


def _prompts(graph: Graph, sampler: Node, alone: Node | None) -> dict[str, Any]:
    linked = _linked(graph, _inputs(sampler).get("text_embeds"))
    node = linked if "positive_prompt" in _inputs(linked) else alone
    texts = {
        "prompt": _inputs(node).get("positive_prompt"),
        "negative_prompt": _inputs(node).get("negative_prompt"),
    }
    return {path: text for path, text in texts.items() if isinstance(text, str)}


def _options(graph: Graph, scene: Node, speech: Node) -> dict[str, Any]:
    """Return the engine's own options; those that say nothing new stay away."""
    shown, heard = _inputs(scene), _inputs(speech)
    found: dict[str, Any] = {
        "options.motion_frames": _whole(graph, shown.get("motion_frame")),
        "options.window": _whole(graph, shown.get("frame_window_size")),
        "options.audio_scale": _number(graph, heard.get("audio_scale")),
    }
    if shown.get("colormatch") == "disabled":
        found["options.color_strength"] = 0.0
    if shown.get("tiled_vae") is True:
        found["options.vae_tiling"] = True
    if heard.get("normalize_loudness") is False:
        found["options.normalize_loudness"] = False
    return {path: value for path, value in found.items() if value is not None}


def _memory(sampler: Node, swap: Node | None) -> dict[str, Any]:
    blocks = _inputs(swap).get("blocks_to_swap")
    swaps = isinstance(blocks, int) and blocks > 0
    return (
        {"memory.offload": "block"}
        if swaps or _inputs(sampler).get("force_offload") is True
        else {}
    )
