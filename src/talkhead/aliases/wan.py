"""Payloads around ComfyUI graphs (WanVideo, worker-comfyui), Wan-Animate, OmniAvatar, LightX2V."""

from collections.abc import Mapping
from typing import Any

from talkhead.aliases import graph, keys
from talkhead.aliases.family import FROM, ClashError, Family, Key, Payload, Values, ignored
from talkhead.result import Notice

FPS = 25
SECONDS = 5  # LightX2V's video_duration
SIZE = {"width": Key("size.width", keys.whole), "height": Key("size.height", keys.whole)}


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise keys.UnfitError("has to be a ComfyUI graph in API format: an object of nodes")
    return value


def _uploads(value: Any) -> dict[str, str]:
    """Return worker-comfyui's files by name."""
    if not isinstance(value, list) or len(value) > 64:
        raise keys.UnfitError("has to be a list of at most 64 objects with name and image")
    found = {}
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise keys.UnfitError("has an item without name")
        found[item["name"]] = keys.base64(item.get("image"))
    return found


def _graph_read(values: Values, payload: Payload) -> list[Notice]:
    """Read the graph as a talking portrait; what the payload says beside it comes first."""
    del payload
    nodes, files = values.pop("_.graph", None), values.pop("_.files", {})
    if nodes is None:
        return []
    found = graph.read(nodes, files)
    if isinstance(found, str):
        values.clear()
        values.update({"action": "workflow", "workflow": nodes})
        return [
            Notice(code="W_GRAPH", message=f"not a talking portrait: {found}", field="workflow")
        ]
    if "portrait" in values:
        found.pop("video", None)
    for path, value in found.items():
        if path not in values:
            values |= {path: value, FROM + path: "_.graph"}
    message = "read as a talking portrait; models, LoRAs and schedulers are the installation's"
    return [Notice(code="W_GRAPH", message=message, field="workflow")]


def _with_vocals(values: Values, payload: Payload) -> list[Notice]:
    """WanVideo: without a graph the vocals are isolated; with one the graph says.

    Its document says of the sampler's seed: 0 (random) or a fixed number.
    """
    notices = _graph_read(values, payload)
    if values["action"] == "workflow" and payload.get("image_url") and payload.get("audio_url"):
        message = "leave workflow out, and image_url and audio_url alone are a talking portrait"
        notices.append(Notice(code="W_GRAPH", message=message, field="workflow"))
    if values.get("sampling.seed") == 0:
        values["sampling.seed"] = -1
        message = "the sampler's seed 0 is random, as it was there"
        notices.append(Notice(code="W_GRAPH", message=message, field="workflow"))
    if not payload.get("workflow") and "speakers.0.audio" in values:
        values["speakers.0.isolate_vocals"] = "auto"
    return notices


WORKFLOW = Key("_.graph", _object, "the values of its nodes")

WANVIDEO = Family(
    name="wanvideo",
    about="WanVideo InfiniteTalk worker",
    detect=lambda payload: (
        "audio_url" in payload or ("workflow" in payload and "image_url" in payload)
    ),
    known_by="`audio_url`, or `image_url` with `workflow`",
    traits=("image_url",),
    engine="infinitetalk",
    keys={
        "image_url": Key("portrait", keys.url),
        "audio_url": Key("speakers.0.audio", keys.url),
        **SIZE,
        "workflow": Key("_.graph", _object, "the values of its nodes; a sampler's seed 0 is -1"),
    },
    defaults={
        "size.width": 640,
        "size.height": 640,
        "sampling.steps": 4,
        "sampling.text_guidance": 1.0,
        "sampling.audio_guidance": 1.0,
        "sampling.shift": 11.0,
        "output.url": "auto",
    },
    needs=("portrait|video", "speakers.0.audio|speakers.0.text"),
    finish=_with_vocals,
    answers="`video` (a list of URLs)",
)

COMFY = Family(
    name="comfy",
    about="worker-comfyui",
    detect=lambda payload: "workflow" in payload,
    known_by="`workflow`",
    engine="infinitetalk",
    keys={
        "workflow": WORKFLOW,
        "images": Key("_.files", _uploads, "the files that LoadImage and LoadAudio name"),
        "comfy_org_api_key": ignored("no service of theirs is called"),
    },
    defaults={"output.inline": True},
    needs=("portrait|video", "speakers.0.audio|speakers.0.text"),
    finish=_graph_read,
    answers="`images[{filename, type, data}]`: type `base64`, or `s3_url` where it is too large",
)


def _shelved(values: Values, payload: Payload) -> list[Notice]:
    """Make the prefix of user_id and avatar_id."""
    parts = [values[path] for path in ("_.user", "_.avatar") if path in values]
    made = "/".join(parts)
    values[f"{FROM}output.prefix"] = "_.user" if "_.user" in values else "_.avatar"
    if parts and values.setdefault("output.prefix", made) != made:
        names = [name for name in ("user_id", "avatar_id") if payload.get(name)]
        raise ClashError(
            "output.prefix and user_id or avatar_id contradict each other", "output", *names
        )
    return []


WAN_ANIMATE = Family(
    name="wan-animate",
    about="Wan-Animate worker with MinIO",
    detect=lambda payload: any(
        key in payload
        for key in ("input_image_url", "input_image_minio_path", "driving_video_path")
    ),
    known_by="`input_image_url`, `input_image_minio_path` or `driving_video_path`",
    action="animate",
    engine="wan-animate",
    keys={
        "input_image_url": Key("portrait", keys.url),
        "input_image_minio_path": Key("portrait", keys.store),
        "driving_video_path": Key("video", keys.store),
        "driving_video_url": Key("video", keys.url),
        "user_id": Key("_.user", keys.slug, "output.prefix"),
        "avatar_id": Key("_.avatar", keys.slug, "output.prefix"),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        "seed": Key("sampling.seed", keys.seed),
    },
    defaults={"mode": "replace", "size.width": 1280, "size.height": 720, "fps": 24},
    needs=("portrait", "video"),
    finish=_shelved,
    answers="`minio_key`, `presigned_url`",
)


def _omniavatar(payload: Payload) -> bool:
    alone = ("image_base64", "reference_image", "audio_base64")
    return any(key in payload for key in alone) or {"image", "audio"} <= payload.keys()


def _trained(value: Any) -> Any:
    """Return the preset of a max_hw that has one, else the longer side."""
    side = keys.whole(value)
    return {720: "480p", 1280: "720p"}.get(side, {"long": side})


OMNIAVATAR = Family(
    name="omniavatar",
    about="OmniAvatar worker, whose document names no keys: these are its configuration's",
    detect=_omniavatar,
    known_by="`image_base64`, `reference_image` or `audio_base64`, or `image` and `audio`",
    engine="omniavatar",
    keys={
        "image": Key("portrait", keys.base64),
        "image_base64": Key("portrait", keys.base64),
        "reference_image": Key("portrait", keys.base64),
        "audio": Key("speakers.0.audio", keys.base64),
        "audio_base64": Key("speakers.0.audio", keys.base64),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        "num_steps": Key("sampling.steps", keys.whole),
        "num_inference_steps": Key("sampling.steps", keys.whole),
        "guidance_scale": Key("sampling.text_guidance", keys.number),
        "audio_scale": Key("sampling.audio_guidance", keys.number),
        "seed": Key("sampling.seed", keys.seed),
        "max_hw": Key("size", _trained),
        "overlap_frame": Key("options.overlap", keys.whole),
        "max_tokens": Key("options.max_tokens", keys.whole),
        "tea_cache_l1_thresh": Key("options.teacache_threshold", keys.number),
        "silence_duration_s": Key("speakers.0.start", keys.number),
        "fps": Key("fps", keys.number),
        "sample_rate": ignored("the sound keeps its own rate"),
    },
    defaults={
        "sampling.steps": 50,
        "sampling.text_guidance": 4.5,
        "options.overlap": 13,
        "size": "480p",  # what it calls max_hw 720
        "output.inline": True,
    },
    needs=("portrait", "speakers.0.audio|speakers.0.text"),
    answers="`video` (base64; `video_url` where it is too large)",
)


def _talkers(value: Any) -> dict[str, Any]:
    """Return the voices of talk_objects."""
    if not isinstance(value, list) or not 0 < len(value) <= 8:
        raise keys.UnfitError("has to be a list of 1 to 8 objects with audio")
    found = {}
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise keys.UnfitError("has an item that is no object")
        found[f"speakers.{index}.audio"] = keys.volume(item.get("audio"))
    return found


def _shape(value: Any) -> dict[str, Any]:
    """Return target_shape: height, width; an empty one was none."""
    if value == []:
        return {}
    if not isinstance(value, list) or len(value) != 2:
        raise keys.UnfitError("has to be two numbers: height, width")
    return {"size.height": keys.whole(value[0]), "size.width": keys.whole(value[1])}


def _limited(values: Values, payload: Payload) -> list[Notice]:
    """Take the shorter of target_video_length and video_duration."""
    limits = [values["_.frames"]] if "_.frames" in values else []
    if "_.seconds" in values or not limits:
        limits.append(round(values.get("_.seconds", SECONDS) * float(values.get("fps", FPS))))
    values["max_frames"] = min(limits)
    framed = values["max_frames"] == values.get("_.frames")
    values[f"{FROM}max_frames"] = "_.frames" if framed else "_.seconds"
    talkers = payload.get("talk_objects")
    masked = isinstance(talkers, list) and any(
        isinstance(item, dict) and item.get("mask") for item in talkers
    )
    message = "not used: faces are found in the picture, from left to right"
    notice = Notice(code="W_IGNORED", message=message, field="talk_objects.mask")
    return [notice] if masked else []


LIGHTX2V_OWN = ("audio_path", "talk_objects", "infer_steps", "target_video_length")

LIGHTX2V = Family(
    name="lightx2v",
    about="LightX2V server",
    detect=lambda payload: any(key in payload for key in LIGHTX2V_OWN),
    known_by="`audio_path`, `talk_objects`, `infer_steps` or `target_video_length`",
    engine="infinitetalk",
    keys={
        "image_path": Key("portrait", keys.volume),
        "video_path": Key("video", keys.volume),
        "audio_path": Key("speakers.0.audio", keys.volume),
        "talk_objects": Key("speakers.0.audio, speakers.1.audio", _talkers, spread=True),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        "infer_steps": Key("sampling.steps", keys.whole),
        "seed": Key("sampling.seed", keys.seed),
        "target_video_length": Key("_.frames", keys.whole, "max_frames"),
        "video_duration": Key("_.seconds", keys.number, "max_frames, at target_fps"),
        "target_fps": Key("fps", keys.number),
        "target_shape": Key("size.width, size.height", _shape, spread=True),
        "save_result_path": Key("output.name", keys.file_name),
        "task_id": Key("idempotency_key", keys.slug),
        "lora_name": ignored("weights are the installation's choice"),
        "lora_strength": ignored("weights are the installation's choice"),
        "use_prompt_enhancer": ignored("prompts are read as they are"),
        "num_fragments": ignored("the engine's own affair"),
        "resize_mode": ignored("fit is the field of this version"),
        "presigned_url": ignored("results go to the operator's store"),
    },
    defaults={"sampling.steps": 5, "max_frames": SECONDS * FPS},
    needs=("portrait|video", "speakers.0.audio|speakers.0.text"),
    finish=_limited,
    answers="`task_id`, `task_status`, `save_result_path` (the key in the store); failed: "
    "`task_id`, `task_status`",
)
