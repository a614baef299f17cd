"""InfiniteTalk's own names: its serverless worker, the Cog predictor and two smaller ones."""

import re
from typing import Any

from talkhead.aliases import keys
from talkhead.aliases.family import FROM, ClashError, Family, Key, Payload, Values, ignored
from talkhead.result import Notice

SIZES = {"infinitetalk-480": "480p", "infinitetalk-720": "720p"}
CLIP, STREAMING = 81, 1000  # frames: one window, and upstream's limit
TEACACHE = 0.2
PICTURES = ("cond_video", "cond_image")
OPERATORS_STORE = "not used: results go to the operator's store"


def _voice(value: Any) -> str:
    """Return Kokoro's voice from its name or from the file it was in there."""
    return f"kokoro:{keys.file_name(value)}"


def _heard(value: Any) -> dict[str, Any]:
    """Return the recordings of cond_audio: one reference, or one for each person."""
    if isinstance(value, str):
        return {"speakers.0.audio": keys.volume(value)}
    if not isinstance(value, dict) or not value or not value.keys() <= {"person1", "person2"}:
        raise keys.UnfitError("has to be a reference, or an object with person1 and person2")
    named = {"person1": "speakers.0.audio", "person2": "speakers.1.audio"}
    given = {name: ref for name, ref in value.items() if ref not in (None, "")}
    if "person1" not in given:
        raise keys.UnfitError("has no person1")
    return {named[name]: keys.volume(ref) for name, ref in given.items()}


def _spoken(value: Any) -> dict[str, Any]:
    """Return the texts of tts_audio: one, or two marked (s1) and (s2), in that order."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise keys.UnfitError("has to be an object with text")
    parts = re.split(r"\(s([12])\)", value["text"])
    texts = [parts[0].strip()] if len(parts) == 1 else [part.strip() for part in parts[2::2]]
    if len(parts) > 1 and (parts[1::2] not in (["1"], ["1", "2"]) or parts[0].strip()):
        raise keys.UnfitError(
            "may hold (s1) and then (s2), once each; send recordings for a dialogue"
        )
    found: dict[str, Any] = {}
    for index, words in enumerate(texts):
        found[f"speakers.{index}.text"] = words
        voice = value.get(f"human{index + 1}_voice")
        found[f"speakers.{index}.voice"] = _voice(voice) if voice else "kokoro"
    return found


def _boxes(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {"speakers.0.box": keys.box(value)}
    named = {"person1": "speakers.0.box", "person2": "speakers.1.box"}
    if not value.keys() <= named.keys():
        raise keys.UnfitError("has to be four numbers, or an object with person1 and person2")
    return {named[name]: keys.box(sides) for name, sides in value.items()}


def _kept(value: Any) -> dict[str, Any]:
    """Return where results go, as far as that is the caller's to say."""
    if not isinstance(value, dict):
        raise keys.UnfitError("has to be an object")
    stores = {"s3": False, "volume": False, "inline": True}
    found = {"output.inline": keys.choice(stores)(value.get("store") or "s3")}
    if value.get("prefix"):
        found["output.prefix"] = keys.prefix(value["prefix"])
    return found


def _no_weights(value: Any) -> None:
    del value
    raise keys.UnfitError("which weights are read is the installation's choice; leave it out")


def _in_turn(values: Values, payload: Payload) -> list[Notice]:
    """Let two texts take turns, as they always did; audio_type spoke of recordings."""
    if "speakers.1.text" not in values or "turns" in payload:
        return []
    lost = values.get("turns", "in_turn") != "in_turn"
    values["turns"] = "in_turn"
    message = "not used: two texts take turns; audio_type is for recordings"
    return [Notice(code="W_IGNORED", message=message, field="audio_type")] if lost else []


def _settled(values: Values, payload: Payload) -> list[Notice]:
    """Read together what older InfiniteTalk payloads say with several keys."""
    if "speakers.0.audio" in values and "speakers.0.text" in values:
        why = "cond_audio and tts_audio contradict each other: give one of them"
        raise ClashError(why, "cond_audio", "tts_audio")
    limits = {"clip": values.get("_.clip", CLIP), "streaming": values.get("_.most", STREAMING)}
    mode = values.get("_.mode", "clip")
    values["max_frames"] = limits[mode]
    values[f"{FROM}max_frames"] = {"clip": "_.clip", "streaming": "_.most"}[mode]
    if values.get("_.teacache"):
        values["options.teacache_threshold"] = values.get("_.threshold", TEACACHE)
        values[f"{FROM}options.teacache_threshold"] = "_.threshold"
    if values.get("_.apg"):
        values["options.apg"] = True
    else:
        for name in ("options.apg_momentum", "options.apg_norm_threshold"):
            values.pop(name, None)
    asked = [values[path] for path in values if path.startswith("_.offload")]
    if asked:
        values["memory.offload"] = "block" if "block" in asked else "none"
    config = payload.get("output_config")
    places = ("bucket", "region", "video_url", "thumbnail_url")
    notices = [
        Notice(code="W_IGNORED", message=OPERATORS_STORE, field=f"output_config.{name}")
        for name in places
        if isinstance(config, dict) and name in config
    ]
    if isinstance(config, dict) and config.get("store") == "volume":
        message = "read as the operator's own store"
        notices.append(Notice(code="W_ALIAS", message=message, field="output_config.store"))
    return notices + _in_turn(values, payload)


def _streamed(values: Values, payload: Payload) -> list[Notice]:
    values.setdefault("_.mode", "streaming")
    return _settled(values, payload)


SHARED = {
    "prompt": Key("prompt", keys.text),
    "cond_video": Key("source", keys.volume),
    "cond_image": Key("source", keys.volume),
    "size": Key("size", keys.choice(SIZES)),
    "mode": Key(
        "_.mode",
        keys.choice({"clip": "clip", "streaming": "streaming"}),
        f"max_frames: clip is frame_num ({CLIP}), streaming max_frame_num ({STREAMING})",
    ),
    "sample_steps": Key("sampling.steps", keys.whole),
    "motion_frame": Key("options.motion_frames", keys.whole),
    "offload_model": Key("_.offload.model", keys.offload, "memory.offload"),
}
SAMPLING = {
    "sample_text_guide_scale": Key("sampling.text_guidance", keys.number),
    "sample_audio_guide_scale": Key("sampling.audio_guidance", keys.number),
    "sample_shift": Key("sampling.shift", keys.number),
    "color_correction_strength": Key("options.color_strength", keys.number),
}

INFINITETALK = Family(
    name="infinitetalk",
    about="InfiniteTalk serverless worker",
    detect=lambda payload: any(key in payload for key in (*PICTURES, "cond_audio", "tts_audio")),
    known_by="`cond_video`, `cond_image`, `cond_audio` or `tts_audio`",
    traits=("frame_num", "max_frame_num"),
    engine="infinitetalk",
    keys={
        **SHARED,
        **SAMPLING,
        "id": Key("output.name", keys.slug),
        "cond_audio": Key("speakers.0.audio, speakers.1.audio", _heard, spread=True),
        "tts_audio": Key("speakers.0.text, speakers.1.text", _spoken, spread=True),
        "audio_type": Key("turns", keys.choice({"para": "together", "add": "in_turn"})),
        "bbox": Key("speakers.0.box", _boxes, spread=True),
        "frame_num": Key("_.clip", keys.whole, "max_frames, with mode clip"),
        "max_frame_num": Key("_.most", keys.whole, "max_frames, with mode streaming"),
        "use_teacache": Key("_.teacache", keys.flag, "options.teacache_threshold"),
        "teacache_thresh": Key("_.threshold", keys.number, "options.teacache_threshold"),
        "use_apg": Key("_.apg", keys.flag, "options.apg"),
        "apg_momentum": Key("options.apg_momentum", keys.number),
        "apg_norm_threshold": Key("options.apg_norm_threshold", keys.number),
        "base_seed": Key("sampling.seed", keys.seed),
        "num_persistent_param_in_dit": Key(
            "_.offload.resident",
            lambda value: "block" if keys.whole(value) >= 0 else "none",
            "memory.offload: block",
        ),
        "quant": Key("memory.quant", keys.choice({"int8": "int8", "fp8": "fp8"})),
        "quant_dir": Key("", _no_weights, "refused: weights are the installation's choice"),
        "n_prompt": Key("negative_prompt", keys.text),
        "output_config": Key("output.inline, output.prefix", _kept, spread=True),
    },
    defaults={
        "size": "480p",
        "sampling.steps": 8,
        "sampling.seed": 42,
        "options.motion_frames": 9,
        "options.color_strength": 1.0,
        "max_frames": CLIP,
        "output.url": "auto",
    },
    operators={
        "size": ("size", "size"),
        "steps": ("sampling.steps", "sampling.steps"),
        "teacache": ("_.teacache", "options.teacache_threshold"),
        "apg": ("_.apg", "options.apg"),
    },
    needs=("source", "speakers.0.audio|speakers.0.text"),
    finish=_settled,
    echo=(
        "size",
        "frame_num",
        "sample_steps",
        "motion_frame",
        "use_teacache",
        "use_apg",
        "base_seed",
    ),
    answers="`job_id`, `status`, `video{url, mime, bytes, thumbnail_url}`, `timings`, `params`, "
    "`artifacts`, `warnings`, `checkpoints`; failed: `job_id`, `status`, `timings`, `checkpoints`",
)

INFINITETALK_BATCH = Family(
    name="infinitetalk-batch",
    about="InfiniteTalk serverless worker, several jobs in one",
    detect=lambda payload: "batch" in payload,
    known_by="`batch`",
    action="batch",
    keys={
        "batch": Key(
            "items",
            note="`items`: each with all that stands beside `batch`, read as "
            "an infinitetalk payload",
        )
    },
    items="batch",
    each=INFINITETALK,
    answers="`job_id`, `status` (success, or partial where an item failed), `items` of `id` "
    "(item-0 and so on where it has none) and `result`: an infinitetalk answer, with an `error` "
    "object where it failed; failed as a whole: `job_id`, `status`, `timings`, `checkpoints`",
)


def _cog(payload: Payload) -> bool:
    return any(key in payload for key in PICTURES) and (
        isinstance(payload.get("cond_audio"), str) or "low_vram" in payload
    )


COG = Family(
    name="cog",
    about="InfiniteTalk as a Cog predictor",
    detect=_cog,
    known_by="`cond_video` or `cond_image` with `cond_audio` as text, or with `low_vram`",
    engine="infinitetalk",
    keys={
        **SHARED,
        "cond_audio": Key("speakers.0.audio, speakers.1.audio", _heard, spread=True),
        "low_vram": Key("_.offload.vram", keys.offload, "memory.offload"),
        "seed": Key("sampling.seed", keys.seed),
    },
    defaults={
        "size": "480p",
        "sampling.steps": 40,
        "sampling.text_guidance": 5.0,
        "sampling.audio_guidance": 4.0,
        "sampling.seed": 42,
        "options.motion_frames": 9,
        "options.color_strength": 1.0,
        "max_frames": STREAMING,
    },
    needs=("source", "speakers.0.audio|speakers.0.text"),
    finish=_streamed,
    answers="`status`, `output` (the URL); failed: `status`",
)


def _multigpu(payload: Payload) -> bool:
    pair = {"image", "audio"} <= payload.keys() and bool(SAMPLING.keys() & payload.keys())
    return (
        "audio1" in payload
        or "image1" in payload
        or pair
        or ({"image", "audio", "sample_steps"} <= payload.keys())
    )


MULTIGPU = Family(
    name="multigpu",
    about="InfiniteTalk on several GPUs",
    detect=_multigpu,
    known_by="`audio1` or `image1`, or `image` and `audio` with a `sample_*` key",
    engine="infinitetalk",
    keys={
        "image": Key("source", keys.volume),
        "image1": Key("source", keys.volume),
        "audio1": Key("speakers.0.audio", keys.volume),
        "audio": Key("speakers.0.audio", keys.volume),
        "prompt": Key("prompt", keys.text),
        "size": SHARED["size"],
        "sample_steps": SHARED["sample_steps"],
        "mode": ignored("the length of the sound decides"),
        **SAMPLING,
    },
    defaults={
        "size": "720p",
        "prompt": "a person is talking",
        "sampling.steps": 8,
        "sampling.text_guidance": 1.0,
        "sampling.audio_guidance": 6.0,
        "sampling.shift": 3.0,
        "sampling.seed": 42,
        "options.motion_frames": 25,
        "options.color_strength": 0.2,
        "options.teacache_threshold": 0.3,
        "options.apg": True,
        "max_frames": STREAMING,
        "output.inline": True,
    },
    needs=("source", "speakers.0.audio|speakers.0.text"),
    echo=("size", "sample_steps", *SAMPLING, "mode"),
    answers="`video_path` (the key in the store), `generation_params`, `video_base64` "
    "(`video_url` where it is too large)",
)

FLASHFALCON = Family(
    name="flashfalcon",
    about="infinitetalk-worker of a task service",
    detect=lambda payload: "image_model_url" in payload or "sound_model_url" in payload,
    known_by="`image_model_url` or `sound_model_url`",
    engine="infinitetalk",
    keys={
        "image_model_url": Key("portrait", keys.url),
        "sound_model_url": Key("speakers.0.audio", keys.url),
        "prompt": Key("prompt", keys.text),
        "quality": ignored("size and steps are what they were there"),
        "video_generation_image_audio_pk": ignored("the answer repeats it"),
    },
    defaults={"size": "480p", "sampling.steps": 8, "options.motion_frames": 9},
    needs=("portrait", "speakers.0.audio|speakers.0.text"),
    echo=("video_generation_image_audio_pk",),
    answers="`video_generation_image_audio_pk`, `video_url`",
)
