"""The hub templates and the Go service before them: wav_* keys, base64, inline answers."""

from talkhead.aliases import keys
from talkhead.aliases.family import ClashError, Family, Key, Payload, Values, ignored
from talkhead.result import Notice

HUB_DEFAULTS = {
    "size.width": 512,
    "size.height": 512,
    "prompt": "A person talking naturally",
    "sampling.steps": 6,
    "sampling.text_guidance": 1.0,
    "sampling.shift": 11.0,
    "output.inline": True,
}
SIZE = {"width": Key("size.width", keys.whole), "height": Key("size.height", keys.whole)}


def three(stem: str, to: str, end: str = "") -> dict[str, Key]:
    """Return the hub's three ways to give one file: by path, URL or base64."""
    return {
        f"{stem}_path{end}": Key(to, keys.volume),
        f"{stem}_url{end}": Key(to, keys.url),
        f"{stem}_base64{end}": Key(to, keys.base64),
    }


def _hub(payload: Payload) -> bool:
    keys_ = ("input_type", "person_count", *three("wav", ""), *three("wav", "", "_2"))
    return any(key in payload for key in keys_)


def _agrees(values: Values, payload: Payload) -> list[Notice]:
    """Hold what is announced against what is there, and say where the video goes."""
    kind, people = values.get("_.kind"), values.get("_.people")
    pictures = [key for key in payload if key in {**three("image", ""), **three("video", "")}]
    if "portrait" in values and "video" in values:
        raise ClashError(f"{' and '.join(pictures)} contradict each other: one picture", *pictures)
    if kind and kind not in values:
        word = {"portrait": "image", "video": "video"}[kind]
        why = f"input_type says {word!r}, and there is no {word}_url, {word}_path or {word}_base64"
        raise ClashError(why, "input_type", *pictures)
    voices = 2 if "speakers.1.audio" in values else 1
    if people and people != voices:
        word = {1: "single", 2: "multi"}[people]
        why = f"person_count says {word!r}, and the recordings are {voices}"
        raise ClashError(why, "person_count", *(key for key in payload if key.startswith("wav_")))
    if values.pop("_.kept", False):
        values["output.inline"] = False
    return []


HUB = Family(
    name="hub",
    about="InfiniteTalk template of RunPod's hub",
    detect=_hub,
    known_by="`wav_*`, `input_type` or `person_count`",
    engine="infinitetalk",
    keys={
        "input_type": Key(
            "_.kind", keys.choice({"image": "portrait", "video": "video"}), "a check of the input"
        ),
        "person_count": Key(
            "_.people", keys.choice({"single": 1, "multi": 2}), "a check of the voices"
        ),
        **three("image", "portrait"),
        **three("video", "video"),
        **three("wav", "speakers.0.audio"),
        **three("wav", "speakers.1.audio", "_2"),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        **SIZE,
        "max_frame": Key("max_frames", keys.whole),
        "force_offload": Key("memory.offload", keys.offload),
        "seed": Key("sampling.seed", keys.seed),
        "network_volume": Key(
            "_.kept", keys.flag, "output.inline: with true the video stays in the store"
        ),
    },
    defaults=HUB_DEFAULTS,
    isolates=True,
    needs=("portrait|video", "speakers.0.audio|speakers.0.text"),
    finish=_agrees,
    answers="`video` (base64; `video_url` where it is too large), or `video_path` (the key in the "
    "store) and `video_url` with `network_volume`",
)


def _animate(payload: Payload) -> bool:
    names = ("points_store", "neg_coordinates", "coordinates", "workflow_type", "use_onetoall")
    return any(key in payload for key in (*three("video", ""), *names))


HUB_ANIMATE = Family(
    name="hub-animate",
    about="Wan-Animate template of RunPod's hub",
    detect=_animate,
    known_by="`video_*` without `wav_*`, or `points_store`, `coordinates`, `workflow_type`",
    action="animate",
    engine="wan-animate",
    keys={
        **three("image", "portrait"),
        **three("video", "video"),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        "mode": Key("mode", keys.choice({"replace": "replace", "animate": "animate"})),
        "seed": Key("sampling.seed", keys.seed),
        "steps": Key("sampling.steps", keys.whole),
        "cfg": Key("sampling.text_guidance", keys.number),
        "fps": Key("fps", keys.number),
        **SIZE,
        "points_store": Key("options.points"),
        "coordinates": Key("options.coordinates"),
        "neg_coordinates": Key("options.neg_coordinates"),
        "workflow_type": ignored("one way of working for all"),
        "use_onetoall": ignored("one way of working for all"),
    },
    defaults={
        "mode": "replace",
        "size.width": 832,
        "size.height": 480,
        "fps": 16,
        "sampling.steps": 6,
        "sampling.text_guidance": 1.0,
        "output.inline": True,
    },
    needs=("portrait", "video"),
    answers="`video` (base64; `video_url` where it is too large)",
)


def _service(payload: Payload) -> bool:
    own = {"push_to_s3", "provider", "long_video"}
    return {"image_base64", "audio_base64"} <= payload.keys() and (
        bool(own & payload.keys()) or {"width", "height"} <= payload.keys()
    )


def _pushed(values: Values, payload: Payload) -> list[Notice]:
    """Return the video inline unless the caller asked for a file in the store."""
    del payload
    values["output.inline"] = not values.pop("_.pushed", False)
    return []


INFINITETALK_API = Family(
    name="infinitetalk-api",
    about="infinitetalk-api, the service in Go",
    detect=_service,
    known_by="`image_base64` and `audio_base64` with `width` and `height`, or with `push_to_s3`, "
    "`provider`, `long_video`",
    engine="infinitetalk",
    keys={
        "image_base64": Key("portrait", keys.base64),
        "audio_base64": Key("speakers.0.audio", keys.base64),
        "prompt": Key("prompt", keys.text),
        **SIZE,
        "force_offload": Key("memory.offload", keys.offload),
        "dry_run": Key("dry_run", keys.flag),
        "push_to_s3": Key(
            "_.pushed", keys.flag, "output.inline: with true the video stays in the store"
        ),
        "provider": ignored("this installation does the work"),
        "long_video": ignored("length does not matter here"),
    },
    defaults={
        **{name: value for name, value in HUB_DEFAULTS.items() if name != "output.inline"},
        "output.url": "auto",
    },
    isolates=True,
    needs=("portrait", "speakers.0.audio|speakers.0.text"),
    finish=_pushed,
    answers="`id`, `status`, `progress`, `video_base64` (`video_url` with `push_to_s3`, or where "
    "it is too large); failed: `id`, `status`, `progress`",
)
