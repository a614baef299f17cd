"""SONIC's worker: `action` health, portrait, lipsync, tts; files by bare names on its volume."""

from talkhead.aliases import keys
from talkhead.aliases.family import FROM, ClashError, Family, Key, Payload, Values, ignored
from talkhead.result import Notice

PORTRAIT_ONLY = {
    "description",
    "model",
    "width",
    "height",
    "steps",
    "cfg_scale",
    "seed",
    "save_to_avatars",
    "avatar_name",
}
WEIGHTS = "weights are the installation's choice"


def _lipsync(payload: Payload) -> bool:
    return payload.get("action") == "lipsync" or "portrait_image" in payload


def _tts(payload: Payload) -> bool:
    return payload.get("action") == "tts"


def _portrait(payload: Payload) -> bool:
    if "action" not in payload:  # its handler took portrait for granted
        return "description" in payload
    return payload["action"] == "portrait" and bool(PORTRAIT_ONLY & payload.keys())


def _saved(values: Values, payload: Payload) -> list[Notice]:
    """Read save_to_avatars and avatar_name together."""
    del payload
    wanted, name = values.get("_.save"), values.get("_.name", "")
    if wanted and not name:
        raise ClashError("save_to_avatars needs avatar_name", "save_to_avatars", "avatar_name")
    if wanted:
        values |= {"save_as": name.lstrip("_-."), f"{FROM}save_as": "_.name"}
        return []
    if name:
        message = "not used: save_to_avatars is not true"
        return [Notice(code="W_IGNORED", message=message, field="avatar_name")]
    return []


SONIC = Family(
    name="sonic",
    about="SONIC lip sync worker, `action: lipsync`",
    detect=_lipsync,
    known_by="`action: lipsync`, or `portrait_image`",
    engine="sonic",
    keys={
        "action": Key("action", keys.choice({"lipsync": "talk"}), "action talk"),
        "portrait_image": Key("portrait", keys.library),
        "audio": Key("speakers.0.audio", keys.library),
        "inference_steps": Key("sampling.steps", keys.whole),
        "steps": Key("sampling.steps", keys.whole),
        "seed": Key("sampling.seed", keys.seed),
        "fps": Key("fps", keys.number),
        "min_resolution": Key("size.short", keys.whole),
        "dynamic_scale": Key("options.dynamic_scale", keys.number),
        "ip_audio_scale": Key("options.audio_scale", keys.number),
        "expand_ratio": Key("options.expand_ratio", keys.number),
        "duration": ignored("the sound's own length counts, as it did there"),
        "svd_checkpoint": ignored(WEIGHTS),
        "sonic_unet": ignored(WEIGHTS),
    },
    defaults={"sampling.steps": 25, "size.short": 512},
    needs=("portrait", "speakers.0.audio|speakers.0.text"),
    answers="`status`, `action`, `seed`, `files[{type, filename, path, size, url, signed_url}]`",
)

SONIC_TTS = Family(
    name="sonic-tts",
    about="SONIC worker, `action: tts`",
    detect=_tts,
    known_by="`action: tts`",
    action="speak",
    keys={
        "action": Key("action", keys.choice({"tts": "speak"}), "action speak"),
        "text": Key("text", keys.text),
        "voice_sample": Key("sample", keys.library),
        "voice_reference": Key("sample", keys.library),
        "sample_text": Key("sample_text", keys.text),
        "voice_reference_text": Key("sample_text", keys.text),
        "speed": Key("speed", keys.number),
        "seed": ignored("speech has no seed"),
        "model": ignored(WEIGHTS),
        "vocoder": ignored(WEIGHTS),
    },
    defaults={"voice": "f5"},
    needs=("text",),
    answers="as `lipsync`, with the sound in `files`",
)

SONIC_PORTRAIT = Family(
    name="sonic-portrait",
    about="SONIC worker, `action: portrait`",
    detect=_portrait,
    known_by="`description`, or `action: portrait` with another key that only SONIC has",
    action="portrait",
    keys={
        "action": Key("action", keys.choice({"portrait": "portrait"}), "action portrait"),
        "description": Key("prompt", keys.text),
        "prompt": Key("prompt", keys.text),
        "negative_prompt": Key("negative_prompt", keys.text),
        "model": Key("options.model", keys.text),
        "width": Key("size.width", keys.whole),
        "height": Key("size.height", keys.whole),
        "steps": Key("sampling.steps", keys.whole),
        "cfg_scale": Key("sampling.text_guidance", keys.number),
        "seed": Key("sampling.seed", keys.seed),
        "save_to_avatars": Key("_.save", keys.flag, "save_as, with avatar_name"),
        "avatar_name": Key("_.name", keys.file_name, "save_as"),
    },
    defaults={
        "negative_prompt": "low quality, blurry, distorted",
        "size.width": 768,
        "size.height": 1024,
        "sampling.steps": 20,
        "sampling.text_guidance": 7.0,
    },
    needs=("prompt",),
    finish=_saved,
    answers="as `lipsync`, and `avatar_saved`, `lipsync_ready`",
)
