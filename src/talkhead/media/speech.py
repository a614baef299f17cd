"""Speech for engines: its facts, its place on the job's timeline, and its samples."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from talkhead.errors import Code, TalkheadError
from talkhead.media.container import MAX_SECONDS, open_media, too_long
from talkhead.media.files import whole_file
from talkhead.media.sniff import bad_input
from talkhead.media.sound import (
    Block,
    Samples,
    downmix,
    lead_of,
    read_sound,
    resample,
    seconds_of_sound,
    sound_track,
)

SHORTEST = 0.1  # seconds; less holds no speech
MISSING = 0.5  # seconds short of what the header promised from which on a file counts as cut off


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What is known of a sound without decoding it."""

    seconds: float
    rate: int  # Hz
    channels: int
    codec: str


@dataclass(frozen=True, slots=True)
class Part:
    """When a sound is heard, in seconds of the video; what lies past `length` is cut off."""

    offset: float
    length: float


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """A speaker's samples on the job's timeline."""

    samples: NDArray[np.float32]  # (n,), mono, -1..1, a read-only memory map
    peak: float  # of full scale
    rms: float  # of full scale, over the part that is heard
    warnings: tuple[str, ...] = ()


def probe_audio(path: Path, field: str = "") -> AudioFacts:
    """Return the facts of a recording, or of a video's sound, without decoding it.

    Raises E_AUDIO_EMBEDDING for sound that is missing or too short.
    """
    with open_media(path, field) as container:
        track = sound_track(container, path, field)
        facts = AudioFacts(
            seconds=seconds_of_sound(container, track) + lead_of(container, track),
            rate=track.rate,
            channels=track.channels,
            codec=track.codec_context.name,
        )
    if facts.seconds > MAX_SECONDS:
        raise too_long(path, field)
    if facts.seconds < SHORTEST:
        raise bad_input(
            field,
            f"{path.name} lasts {facts.seconds * 1000:.3g} ms",
            f"speech has to last at least {SHORTEST} s",
            Code.AUDIO,
        )
    return facts


def arrange(
    lengths: Sequence[float],
    turns: Literal["together", "in_turn"],
    starts: Sequence[float | None],
    ends: Sequence[float | None],
) -> tuple[list[Part], float]:
    """Lay sounds of the given seconds on one timeline; return their places and the total seconds.

    A start or an end that is set holds; otherwise all begin at 0, or each after the one before.
    """
    parts: list[Part] = []
    total = cursor = 0.0
    for index, (length, start, end) in enumerate(zip(lengths, starts, ends, strict=True)):
        offset = start if start is not None else cursor
        if end is not None and end - offset < SHORTEST:
            raise TalkheadError(
                Code.INPUT,
                f"speaker {index + 1} would end at {end:g} s but begins at {offset:g} s",
                "set `end` later or `start` earlier",
                fields=[f"speakers.{index}.end"],
            )
        heard = length if end is None else min(length, end - offset)
        parts.append(Part(offset, heard))
        total = max(total, offset + heard)
        cursor = offset + heard if turns == "in_turn" else 0.0
    return parts, total


def decode_speech(path: Path, out: Path, rate: int, part: Part, seconds: float) -> Speech:
    """Write a sound as mono float32 of `rate` Hz and `seconds` to the NumPy file `out`.

    It is placed as `part` says, silence around it, and returned as a memory map of that file.
    """
    warnings: list[str] = []
    size = round(seconds * rate)
    first = min(size, round(part.offset * rate))
    last = min(size, round((part.offset + part.length) * rate))
    blocks = resample(read_sound(path, warnings=warnings), rate, _mono)
    # Plain writes: on a full disk they raise, where a mapped file would kill the process
    with whole_file(out) as partial, partial.open("wb") as file, closing(blocks):
        header = {"descr": "<f4", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.seek(start + 4 * first)
        heard, peak, power = _write(blocks, file, last - first)
        file.truncate(start + 4 * size)
    if heard / rate < min(part.length, seconds - part.offset) - MISSING:
        warnings.append(f"{path.name} is cut off: its sound ends after {heard / rate:.1f} s")
    samples = np.load(out, mmap_mode="r")
    return Speech(samples, peak, float(np.sqrt(power / max(1, heard))), tuple(warnings))


def _write(blocks: Iterator[Samples], file: BinaryIO, wanted: int) -> tuple[int, float, float]:
    """Write at most `wanted` samples; return how many, their peak and the sum of squares."""
    heard, peak, power = 0, 0.0, 0.0
    for block in blocks:
        samples = np.clip(block[0, : wanted - heard], -1, 1)
        if not samples.size:
            break
        file.write(samples.astype("<f4").tobytes())
        heard += samples.size
        peak = max(peak, float(np.abs(samples).max()))
        power += float(np.square(samples, dtype=np.float64).sum())
    return heard, peak, power


def _mono(block: Block) -> Samples:
    mixed: Samples = downmix(block.channels, 1) @ block.samples
    return mixed
