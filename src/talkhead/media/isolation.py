"""Voices without the music and noise around them: how an isolator is fed, and what it wrote."""

import wave
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from talkhead.engines import Tick
from talkhead.errors import Code, TalkheadError
from talkhead.media.files import whole_file
from talkhead.media.sound import Block, Samples, downmix, read_sound, resample
from talkhead.voices import Isolator

RATE = 44_100  # Hz, of what an isolator is given


def write_voice(isolator: Isolator, sound: Path, out: Path, tick: Tick) -> None:
    """Write the voice of any recording, or of a video's sound, to `out`, whole or not at all.

    The isolator gets plain WAV: no file from outside reaches another decoder than ours.
    """
    plain, partial = (out.with_name(f".{out.stem}.{part}.wav") for part in ("sound", "partial"))
    try:
        _write_plain(sound, plain, tick)
        isolator.isolate(plain, partial, tick)
        if not partial.exists():
            raise TalkheadError(
                Code.GENERATION,
                f"{type(isolator).__name__} wrote no voice",
                "leave isolate_vocals out, or tell the operator",
            )
        partial.replace(out)
    finally:
        for file in (plain, partial):
            file.unlink(missing_ok=True)


def _write_plain(sound: Path, out: Path, tick: Tick) -> None:
    blocks = resample(_told(read_sound(sound), tick), RATE, _stereo)
    with whole_file(out) as partial, wave.open(str(partial), "wb") as file, closing(blocks):
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for samples in blocks:
            scaled = np.clip(samples.T, -1, 1) * np.float32(32_767)
            file.writeframesraw(np.rint(scaled).astype("<i2").tobytes())


def _told(blocks: Iterator[Block], tick: Tick) -> Iterator[Block]:
    for block in blocks:
        tick(0, 1)
        yield block


def _stereo(block: Block) -> Samples:
    mixed: Samples = downmix(block.channels, 2) @ block.samples
    return mixed
