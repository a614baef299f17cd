"""Which family a payload is of: the smallest payloads of each, and what could be taken for them."""

from typing import Any

import pytest

from talkhead.aliases import glance
from talkhead.aliases.families import FAMILIES

A, B = "https://a.example/a", "https://a.example/b"

DETECTED: list[tuple[str, dict[str, Any]]] = [
    ("sonic", {"action": "lipsync"}),
    ("sonic", {"portrait_image": "avatars/odin.png", "audio": "a.wav"}),
    ("sonic-tts", {"action": "tts"}),
    ("sonic-portrait", {"action": "portrait", "description": "Odin"}),
    ("sonic-portrait", {"action": "portrait", "prompt": "Odin", "model": "x"}),
    ("sonic-portrait", {"description": "Odin"}),
    ("talkhead", {"action": "portrait", "prompt": "Odin"}),
    ("talkhead", {"action": "health"}),
    ("talkhead", {"action": "capabilities"}),
    ("wan-animate", {"input_image_url": A}),
    ("wan-animate", {"input_image_minio_path": "a.png"}),
    ("wan-animate", {"driving_video_path": "a.mp4"}),
    ("infinitetalk", {"cond_video": A, "cond_audio": {"person1": B}}),
    ("infinitetalk", {"cond_video": A, "tts_audio": {"text": "hi"}}),
    ("cog", {"cond_video": A, "cond_audio": B}),
    ("cog", {"cond_video": A, "cond_audio": {"person1": B}, "low_vram": True}),
    ("cog", {"cond_image": A, "cond_audio": B}),
    ("infinitetalk", {"cond_image": A, "cond_audio": {"person1": B}}),
    ("infinitetalk", {"cond_audio": {"person1": B}}),
    ("infinitetalk", {"cond_audio": B}),
    ("infinitetalk", {"tts_audio": {"text": "hi"}}),
    ("infinitetalk", {"prompt": "x", "frame_num": 81}),
    ("infinitetalk-batch", {"batch": []}),
    ("wanvideo", {"image_url": A, "audio_url": B}),
    ("wanvideo", {"image_url": A, "workflow": {}}),
    ("wanvideo", {"image_url": A}),
    ("wanvideo", {"audio_url": B}),
    ("wanvideo", {"image_url": A, "audio_url": B, "frame_num": 81}),
    ("comfy", {"workflow": {}, "images": []}),
    ("hub", {"image_url": A, "wav_url": B}),
    ("hub", {"video_url": A, "wav_path": "b.wav"}),
    ("hub", {"image_url": A, "wav_url": B, "frame_num": 81}),
    ("hub", {"person_count": "multi"}),
    ("hub", {"input_type": "video"}),
    ("hub-animate", {"image_path": "a.png", "video_path": "b.mp4"}),
    ("hub-animate", {"image_url": A, "points_store": "{}"}),
    ("lightx2v", {"image_path": "a.png", "audio_path": "b.wav"}),
    ("lightx2v", {"image_path": "a.png", "talk_objects": []}),
    ("multigpu", {"image": A, "audio1": B}),
    ("multigpu", {"image1": A, "audio": B}),
    ("multigpu", {"image": A, "audio": B, "sample_steps": 8}),
    ("omniavatar", {"image": "AAAA", "audio": "BBBB"}),
    ("omniavatar", {"image_base64": "AAAA", "audio_base64": "BBBB"}),
    ("omniavatar", {"reference_image": "AAAA"}),
    ("infinitetalk-api", {"image_base64": "A", "audio_base64": "B", "width": 1, "height": 1}),
    ("infinitetalk-api", {"image_base64": "A", "audio_base64": "B", "push_to_s3": True}),
    ("flashfalcon", {"image_model_url": A}),
    ("flashfalcon", {"sound_model_url": A}),
    ("talkhead", {}),
    ("talkhead", {"prompt": "hello"}),
    ("talkhead", {"portrait": A, "audio_url": B}),
    ("talkhead", {"portrait": A, "image_url": B}),
    ("talkhead", {"speakers": [], "frame_num": 81}),
    ("talkhead", {"video": A, "prompt": "hello"}),
    ("talkhead", {"action": "talk", "image_url": A, "audio_url": B}),
    ("talkhead", {"speakers": [], "wav_url": B}),
]


@pytest.mark.parametrize(("family", "payload"), DETECTED, ids=lambda value: str(value)[:60])
def test_the_family_of_a_payload(family: str, payload: dict[str, Any]) -> None:
    assert glance(payload).family == family


def test_every_family_is_in_the_table() -> None:
    assert {family for family, _ in DETECTED} == {f.name for f in FAMILIES} | {"talkhead"}
