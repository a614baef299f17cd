"""What the acceptance test looks at: each check has a value, a bar and, where missed, a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talkhead import deliver, quality
from talkhead.engines.draft.phones import SAMPLE_RATE
from talkhead.errors import TalkheadError
from talkhead.folder import file_digest
from talkhead.media.facts import VideoFacts, video_facts
from talkhead.quality.reading import read_sound
from talkhead.request import Talk
from talkhead.result import Made, PlanReport, Result

Samples = NDArray[np.float32]  # (n,), mono, SAMPLE_RATE

CONTAINER = "h264, yuv420p, index first"
UNKNOWN = "what neither the request nor the answer's plan says: give an option"
QUIET_DB = -60.0  # below full scale; speech lies between -15 and -40
ALIKE = 0.5  # correlation with the speech that was sent; AAC leaves 0.95 and more
SEARCH_S = 1.0  # of delay that is looked for, either way
LONGEST_S = 60.0  # of sound that is compared, and of picture that is measured


@dataclass(frozen=True, slots=True)
class Check:
    """One check; the reason is there where it was not passed."""

    name: str
    passed: bool
    value: str
    bar: str
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the wire form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the answer and its video are held to, beside what the request and the plan say."""

    size: tuple[int, int] | None = None
    fps: Fraction | None = None
    bars: Mapping[str, float] = field(default_factory=dict)  # of the lip-sync score, by name
    prefix: str | None = None  # the operator's, in front of every key


def held(name: str, good: bool, value: object, bar: object, reason: str = "") -> Check:
    """Return a check, with a reason where it was not passed."""
    return Check(name, good, str(value), str(bar), "" if good else reason or f"{value}, not {bar}")


def key(made: Made, request: Talk, prefix: str | None) -> Check:
    """Check that the store's key is that of this job."""
    found = made.key
    last = deliver.main_name(request.output, "video", ".mp4")
    wanted = deliver.key_of(prefix or "", request.output, request.idempotency_key or "", last)
    if prefix is not None:
        return held("key", found == wanted, found, wanted)
    good = found == wanted or found.endswith(f"/{wanted}")
    return held("key", good, found, f"…/{wanted}", f"{found} does not end with {wanted}")


def whole(file: Path, made: Made) -> Iterator[Check]:
    """Check that a file is the one that the answer describes."""
    size, digest = file.stat().st_size, file_digest(file)
    yield held("bytes", size == made.bytes, size, made.bytes)
    reason = f"the file's is {digest}, the answer's {made.sha256}"
    yield held("sha256", digest == made.sha256, f"{digest[:12]}…", f"{made.sha256[:12]}…", reason)


def picture(
    facts: VideoFacts, request: Talk, plan: PlanReport | None, expected: Expected
) -> Iterator[Check]:
    """Check container, size, frame rate and length; what nobody asked for is the plan's."""
    shape = f"{facts.codec}, {facts.pixel_format}, index {'first' if facts.faststart else 'last'}"
    yield held("container", shape == CONTAINER, shape, CONTAINER)
    size = expected.size or _size(request) or (plan and (plan.width, plan.height))
    found = f"{facts.width}x{facts.height}"
    wanted = f"{size[0]}x{size[1]}" if size else UNKNOWN
    yield held("size", found == wanted, found, wanted)
    rate = expected.fps or request.fps or (plan and Fraction(plan.fps))
    wanted = _shown(rate) if rate else UNKNOWN
    yield held("fps", facts.fps == rate, _shown(facts.fps), wanted)
    lasts = request.duration or (plan and plan.seconds)
    good = bool(lasts) and abs(facts.seconds - (lasts or 0)) <= 1 / (rate or 25)
    wanted = f"{lasts:.3f} s and at most a frame" if lasts else UNKNOWN
    yield held("length", good, f"{facts.seconds:.3f} s", wanted)


def sound(file: Path, facts: VideoFacts, speech: Path | None, scratch: Path) -> Iterator[Check]:
    """Check that there is sound, that it begins and ends with the picture and is not late.

    `speech` is what was sent, where it is at hand and heard alone from the beginning.
    """
    bar = f"above {QUIET_DB:.0f} dB"
    if facts.audio_codec is None or facts.audio_seconds is None:
        yield held("sound", False, "none", bar, "the video has no sound")
        return
    samples = _samples(file, scratch / "made")
    level = _level_db(samples)
    reason = f"the sound is silent: {level:.0f} dB"
    yield held("sound", level > QUIET_DB, f"{facts.audio_codec}, {level:.0f} dB", bar, reason)
    frame_ms = 1000 / float(facts.fps or 25)
    allowed = f"within {frame_ms:.0f} ms"
    start = 1000 * (facts.audio_start or 0.0)
    reason = f"the sound begins {start:+.0f} ms after the picture"
    yield held("A/V start", abs(start) <= frame_ms, f"{start:+.0f} ms", allowed, reason)
    longer = 1000 * (facts.audio_seconds - facts.seconds)
    reason = f"the sound lasts {longer:+.0f} ms against the picture"
    yield held("A/V length", abs(longer) <= frame_ms, f"{longer:+.0f} ms", allowed, reason)
    if speech is None:
        yield held("delay", True, "not compared", "the speech sent is not at hand, or not alone")
        return
    late, alike = delay(samples, _samples(speech, scratch / "sent"))
    if alike < ALIKE:
        reason = f"the sound is not the speech that was sent: {alike:.2f} alike"
        yield held("delay", False, f"{alike:.2f} alike", f"{ALIKE} alike", reason)
        return
    late_ms = 1000 * late
    reason = f"the sound is {abs(late_ms):.0f} ms {'late' if late > 0 else 'early'}"
    yield held("delay", abs(late_ms) <= frame_ms, f"{late_ms:+.0f} ms", allowed, reason)


def lips(file: Path, bars: Mapping[str, float]) -> Iterator[Check]:
    """Check that a face speaks, and its lip-sync score."""
    options = quality.CheckOptions(limit_s=LONGEST_S)
    try:
        report = quality.check_video(file, options=options)
    except TalkheadError as error:
        yield held("face", False, error.code, "a face that speaks", error.message)
        return
    speaks = report.status in ("scored", "insufficient")
    reason = quality.MEANING[report.status]
    yield held("face", speaks, "speaks" if speaks else report.status, "speaks", reason)
    values = quality.measures(report)
    for name, bar in bars.items():
        missed = quality.check_bars(report, {name: bar})
        value = values[name]
        least = "at least" if name in quality.LEAST else "at most"
        shown = "-" if value is None else f"{value:.3g}"
        yield held(f"lips: {name}", not missed, shown, f"{least} {bar:g}", "; ".join(missed))


def repeated(first: Result, again: Result) -> Iterator[Check]:
    """Check that the same request was answered from the store, with the same file."""
    reason = "the same request under the same key was rendered once more"
    stored = again.repeated
    yield held("repeat", stored, "stored" if stored else "rendered", "stored", reason)
    files = [[(made.key, made.sha256) for made in found.outputs] for found in (first, again)]
    same = files[0] == files[1]
    reason = "the second answer names other files than the first"
    yield held("repeat: files", same, "the same" if same else "others", "the same", reason)


def facts_of(file: Path) -> VideoFacts | Check:
    """Return the facts of a file, or the check that says that it is no video."""
    try:
        return video_facts(file)
    except TalkheadError as error:
        return held("container", False, "no video", CONTAINER, error.message)


def delay(sound: Samples, speech: Samples) -> tuple[float, float]:
    """Return by how many seconds a sound lags behind the speech, and how alike they are, 0 to 1."""
    sound = sound[: round(LONGEST_S * SAMPLE_RATE)]
    speech = speech[: sound.size]
    size = 1 << (sound.size + speech.size).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(speech, size))
    curve = np.fft.irfft(spectrum, size)
    reach = min(round(SEARCH_S * SAMPLE_RATE), sound.size - 1)
    near = np.concatenate([curve[-reach:], curve[: reach + 1]]) if reach else curve[:1]
    best = int(np.argmax(near))
    power = float(np.sqrt((sound**2).sum() * (speech**2).sum()))
    return (best - reach) / SAMPLE_RATE, float(near[best]) / power if power else 0.0


def _samples(file: Path, folder: Path) -> Samples:
    folder.mkdir()
    return np.asarray(read_sound(file, folder).samples)


def _level_db(samples: Samples) -> float:
    power = float((samples.astype(np.float64) ** 2).mean()) if samples.size else 0.0
    return 10 * log10(max(power, 1e-12))


def _size(request: Talk) -> tuple[int, int] | None:
    """Return the size that a request names in full."""
    size = request.size
    if size is None or size.width is None or size.height is None:
        return None
    return size.width + size.width % 2, size.height + size.height % 2


def _shown(rate: Fraction) -> str:
    return str(rate) if rate.denominator == 1 else f"{float(rate):.3f}"
