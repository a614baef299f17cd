"""Jobs on the test card: small inputs, a runtime, a request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from support.harness import SPEECH, read_sound, write_wav
from talkhead.deliver import Ready
from talkhead.request import Talk
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.stores.local import LocalStore
from talkhead.validation import parse

CARDS = {
    "testcard": "support.testcard:TestCard",
    "clipcard": "support.testcard:ClipCard",
}


class Painter:
    """A maker of pictures, for the flows that nothing in this version serves."""

    def make(self, request, files, into, tick):
        tick(1, 1)
        Image.new("RGB", (8, 8)).save(into / "picture.png")
        return [Ready("image", into / "picture.png", "picture.png")]


def seven_seconds(folder: Path) -> Path:
    """Return 7 s of speech: 175 frames, two segments of 80 and one of 15."""
    sound = np.concatenate([read_sound(SPEECH / f"librivox_0{n}.flac") for n in (870, 890)])
    return write_wav(folder / "speech.wav", sound[: 7 * 16_000])


def plain_portrait(folder: Path) -> Path:
    path = folder / "portrait.png"
    Image.new("RGB", (320, 256), (50, 90, 130)).save(path)
    return path


def card_runtime(folder: Path, **more: Any) -> Runtime:
    """Return a runtime on the test card, with its store and jobs in folder."""
    settings = Settings(**card_settings(folder, **more))
    return Runtime(settings, LocalStore(folder / "store"), local_paths=True)


def card_settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "engine": "testcard",
        "engines": CARDS,
        "portraits": {"painter": "support.cards:Painter"},
        "workflows": {"painter": "support.cards:Painter"},
        "jobs": folder / "jobs",
        "store": {"root": folder / "store"},
        **more,
    }


def asked(portrait: Path | str, speech: Path | str, **more: object) -> Talk:
    payload: Mapping[str, object] = {
        "portrait": str(portrait),
        "speakers": [{"audio": str(speech)}],
        "size": "320x256",
        "sampling": {"seed": 1},
        **more,
    }
    request = parse(payload)
    assert isinstance(request, Talk)
    return request
