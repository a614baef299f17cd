"""The sound of a file as a stream of float blocks, whatever its codec, rate and channels."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Discard
from numpy.typing import NDArray

from talkhead.errors import Code
from talkhead.media.container import (
    decodes,
    open_media,
    packets,
    seconds_of,
    start_of,
    video_stream,
)
from talkhead.media.sniff import bad_input

Samples = NDArray[np.float32]  # (channels, n), full scale is -1..1

LOUDEST = 8.0  # of full scale; louder floats are integers in disguise, or broken
MOST_CHANNELS = 8
LONGEST_PACKET = 10  # seconds; real ones last 0.001 to 1.5
UNSAFE_PLANES = 8  # PyAV 18.1 reads past the end of a frame with as many planes: it crashes
GROUP = 16_384  # samples resampled at once; a codec's own frames are too small to be quick
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}  # what a soundtrack may have

LEFT = {"FL", "FLC", "DL", "WL", "TFL"}
RIGHT = {"FR", "FRC", "DR", "WR", "TFR"}
FAR_LEFT = {"BL", "SL", "TBL", "TSL", "SDL"}
FAR_RIGHT = {"BR", "SR", "TBR", "TSR", "SDR"}


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some samples of a sound as they are in the file."""

    samples: Samples
    channels: tuple[str, ...]  # FL, FR, FC, LFE ...; NONE or the like where the file does not say
    rate: int


def sound_track(container: InputContainer, path: Path, field: str = "") -> av.AudioStream:
    """Return the first audio track, all other tracks switched off. Raises E_AUDIO_EMBEDDING."""
    if not container.streams.audio:
        video = video_stream(container)
        what = "is a video without sound" if video else "has no audio track"
        raise bad_input(field, f"{path.name} {what}", "give a recording of speech", Code.AUDIO)
    track = container.streams.audio[0]
    if not decodes(track) or not track.rate or not track.channels:
        raise bad_input(
            field, f"{path.name}: unknown codec or rate", "export it as WAV", Code.AUDIO
        )
    for stream in container.streams:
        if stream is not track:
            stream.discard = Discard.all
    return track


def lead_of(container: InputContainer, track: av.AudioStream) -> float:
    """Return by how many seconds a video's sound starts after its picture; 0 for mere sound."""
    video = video_stream(container)
    return start_of(track) - start_of(video) if video else 0.0


def seconds_of_sound(container: InputContainer, track: av.AudioStream) -> float:
    """Return how long a track lasts in seconds.

    Headers of ISO files are exact. All others are estimates, left out, or wrong in what was
    recorded as a stream, so that their packets are counted instead.
    """
    known = seconds_of(track)
    if known is not None and container.format.name.startswith("mov"):
        return known
    length, first, last = 0, None, 0
    usual = track.codec_context.frame_size or 0
    base = track.time_base or 1 / (track.rate or 1)
    for packet in packets(container, track):
        if not packet.size:  # only drains decoders
            continue
        ticks = packet.duration or 0
        if not 0 < ticks * base < LONGEST_PACKET:  # missing, or damaged: seen in Ogg, 27 hours
            ticks = round(usual / track.rate / base)
        length += ticks - round(_skipped(packet) / track.rate / base)
        if packet.pts is not None:
            first = packet.pts if first is None else first
            last = packet.pts + ticks
    # Opus counts its priming twice, Matroska has no durations: their clocks are right
    clocked = container.format.name in {"ogg", "matroska,webm"} and first is not None
    return max(0.0, float((last - max(first or 0, 0) if clocked else length) * base))


def read_sound(path: Path, field: str = "", warnings: list[str] | None = None) -> Iterator[Block]:
    """Yield a file's sound from the start of its picture, if it has one, else from its own start.

    Damaged packets are left out and warned of. Raises E_AUDIO_EMBEDDING where nothing decodes.
    """
    warnings = [] if warnings is None else warnings
    with open_media(path, field) as container:
        track = sound_track(container, path, field)
        yield from _from_start(
            _decoded(container, track, path, field, warnings), lead_of(container, track)
        )


def resample(
    blocks: Iterator[Block], rate: int, mix: Callable[[Block], Samples]
) -> Generator[Samples, None, None]:
    """Yield what `mix` makes of the blocks, at `rate` Hz, as float arrays of (channels, n)."""
    resampler, source, layout = None, 0, ""
    for samples, block_rate in _grouped(blocks, mix):
        if resampler is None or source != block_rate:
            if resampler is not None:
                yield from _floats(resampler.resample(None))
            layout = LAYOUTS[len(samples)]
            resampler, source = av.AudioResampler("fltp", layout, rate), block_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = block_rate
        yield from _floats(resampler.resample(frame))
    if resampler is not None:
        yield from _floats(resampler.resample(None))


def downmix(channels: Sequence[str], outputs: int) -> Samples:
    """Return the (outputs, channels) matrix to mono, stereo or 5.1 that can never clip.

    Mono is the weighted mean; the low-frequency channel is left out, as in ITU-R BS.775.
    """
    count = len(channels)
    if outputs == count:
        return np.eye(count, dtype=np.float32)
    if outputs == 6:
        matrix = np.zeros((6, count), np.float32)
        rows = [2] if count == 1 else [0, 1]  # FL FR FC LFE and two at the back
        matrix[rows, range(count)] = 1
        return matrix
    sides = np.array([_sides(name) for name in channels], np.float32).T
    if not sides.any():
        sides[:] = 1
    if outputs == 1:
        sides = sides.sum(axis=0, keepdims=True)
    scaled: Samples = sides / sides.sum(axis=1).max()
    return scaled


def _sides(channel: str) -> tuple[float, float]:
    """Return a channel's shares of left and right."""
    if channel in LEFT:
        return 1.0, 0.0
    if channel in RIGHT:
        return 0.0, 1.0
    if channel in FAR_LEFT:
        return 0.7071, 0.0
    if channel in FAR_RIGHT:
        return 0.0, 0.7071
    if channel in {"LFE", "LFE2"}:
        return 0.0, 0.0
    return 0.7071, 0.7071  # centre, or unknown


def _decoded(
    container: InputContainer,
    track: av.AudioStream,
    path: Path,
    field: str,
    warnings: list[str],
) -> Iterator[Block]:
    damaged = heard = 0
    for packet in packets(container, track):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        for frame in frames:
            heard += frame.samples
            yield _block(frame, path, field, warnings)
    if not heard:
        why = f"none of its {damaged} packets decodes" if damaged else "it has no samples"
        raise bad_input(
            field, f"{path.name}: {why}", "record or export the speech again", Code.AUDIO
        )
    if damaged:
        warnings.append(f"{path.name} is damaged: {damaged} packets were left out")


def _from_start(blocks: Iterator[Block], lead: float) -> Iterator[Block]:
    """Put silence before sound that starts `lead` seconds late; drop what comes before 0."""
    drop = max(0.0, -lead)
    for block in blocks:
        late = round(lead * block.rate)
        while late > 0:
            silence = np.zeros((len(block.samples), min(late, GROUP)), np.float32)
            yield replace(block, samples=silence)
            late -= GROUP
        lead = 0.0
        cut = min(block.samples.shape[1], round(drop * block.rate))
        drop -= cut / block.rate
        yield replace(block, samples=block.samples[:, cut:])


def _skipped(packet: "av.Packet[av.AudioStream]") -> int:
    """Return how many samples the decoder has to drop at either end of a packet."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    data = bytes(packet.get_sidedata("skip_samples"))
    return int.from_bytes(data[:4], "little") + int.from_bytes(data[4:8], "little")


def _block(frame: av.AudioFrame, path: Path, field: str, warnings: list[str]) -> Block:
    count = frame.layout.nb_channels
    if count > MOST_CHANNELS:
        raise bad_input(
            field, f"{path.name} has {count} channels", "export it as stereo", Code.AUDIO
        )
    if frame.format.is_planar and count >= UNSAFE_PLANES:
        (frame,) = av.AudioResampler("flt", frame.layout, frame.sample_rate).resample(frame)
    raw = frame.to_ndarray()
    planes = raw if frame.format.is_planar else raw.reshape(-1, count).T
    samples = _as_float(planes)
    if raw.dtype.kind == "f":
        samples = _sane(samples, path, field, warnings)
    names = tuple(channel.name for channel in frame.layout.channels)
    return Block(samples, names if len(names) == count else ("NONE",) * count, frame.sample_rate)


def _as_float(planes: NDArray[Any]) -> Samples:
    floats = planes.astype(np.float32)
    if planes.dtype == np.uint8:
        return (floats - np.float32(128)) / np.float32(128)
    if planes.dtype.kind == "i":
        floats /= np.float32(2.0 ** (8 * planes.dtype.itemsize - 1))
    return floats


def _sane(samples: Samples, path: Path, field: str, warnings: list[str]) -> Samples:
    finite = np.isfinite(samples)
    if not finite.all():
        message = f"{path.name} holds samples that are not numbers; they were silenced"
        if message not in warnings:
            warnings.append(message)
        samples = np.where(finite, samples, np.float32(0))
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LOUDEST:
        raise bad_input(
            field,
            f"{path.name} holds samples up to {peak:.3g}; float sound lies within -1..1",
            "export it as 16-bit WAV or normalise it",
            Code.AUDIO,
        )
    return samples


def _grouped(
    blocks: Iterator[Block], mix: Callable[[Block], Samples]
) -> Iterator[tuple[Samples, int]]:
    """Yield mixed samples in larger pieces, each of one rate, with that rate."""
    parts: list[Samples] = []
    rate = size = 0
    for block in blocks:
        if parts and (size >= GROUP or block.rate != rate):
            yield np.concatenate(parts, axis=1), rate
            parts, size = [], 0
        parts.append(mix(block))
        rate, size = block.rate, size + block.samples.shape[1]
    if size:
        yield np.concatenate(parts, axis=1), rate


def _floats(frames: list[av.AudioFrame]) -> Iterator[Samples]:
    for frame in frames:
        yield frame.to_ndarray().astype(np.float32, copy=False)
