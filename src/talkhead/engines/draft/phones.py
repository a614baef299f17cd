"""Speech to phones: by alignment where the text is known, by a phone recognizer where not.

Speech is heard in utterances cut at pauses, so memory does not grow with its length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from talkhead.engines import Phone, Tick
from talkhead.engines.draft.align import FRAME, SAMPLE_RATE, SILENT, Aligner, Passage, Sound
from talkhead.engines.draft.words import latin_share, spoken_words

__all__ = ["SAMPLE_RATE", "SIL", "PhoneTrack", "Source", "find_phones", "is_english"]

SIL = "SIL"

# Levels are RMS over 10 ms.
LEVEL_STEP = SAMPLE_RATE // 100  # samples
READ = 10 * SAMPLE_RATE  # samples read at a time while levels are measured
SILENCE = 1e-4  # full scale is 1; below, nothing is said
BELOW_SPEECH = 40.0  # dB under the loudest twentieth; below, nothing is said
MARGIN = 0.25  # seconds of quiet that an utterance keeps at either end
LONGEST_PAUSE = 2.0  # seconds; longer ones are left out

LONGEST_UTTERANCE = 12.0  # seconds: half a second of work between two calls of tick
SHORTEST_CUT = 5.0  # seconds; where longer speech is cut, no piece is shorter
PAUSE_WINDOW = 0.2  # seconds; the quietest such stretch is where speech is cut
SHORTEST_HEARD = 0.3  # seconds; padded with silence, as the recognizer needs some frames

# The recognizer's settings that did best on real speech; a tighter beam lost whole utterances.
ALLPHONE = {"lw": 2.0, "beam": 1e-20, "pbeam": 1e-20, "allphone_ci": True}
LOUD_AS = 0.1  # RMS of the loudest twentieth after scaling
MOST_SCALE = 100.0
DITHER = 1.0  # of 32768; digital silence has no logarithm, and espeak's pauses are that

WORDS_PER_SECOND = 5.0  # fast speech
SPARE_WORDS = 12
BACKWARD = 2  # words that an utterance may repeat, because the one before took them by mistake
FORWARD = 5  # words that it may leave out at its start
MOST_LOST = 4  # utterances without a match after which the text is given up
LEAST_KNOWN = 0.85  # of the words; French reaches .75 in the English dictionary, Spanish .79

NOT_ENGLISH = "the transcript is not used: only English text can be aligned"

# How much of the aperture follows loudness without a transcript, as the recognizer knows English
# only. Chosen on 13 clips in 8 other languages (espeak) and 4 in English: 0, .25, .5 and 1 gave
# correlations of .70, .74, .75, .66 for the others and of .86, .85, .82, .65 for English.
OTHER_LANGUAGE, UNKNOWN_LANGUAGE = 0.5, 0.25

Source = Literal["given", "aligned", "allphone", "mixed", "silent"]
Speech = NDArray[np.float32]  # (n,), mono, may be a memory map


@dataclass(frozen=True, slots=True)
class PhoneTrack:
    """What is said when. Phones are in order and do not overlap; gaps are silent."""

    phones: tuple[Phone, ...]
    source: Source
    warnings: tuple[str, ...]
    energy: float = 0.0  # share of the mouth's opening that follows loudness, 0 to 1


def find_phones(speech: Speech, transcript: str | None, language: str, tick: Tick) -> PhoneTrack:
    """Return the phones of speech, (n,) mono at 16 kHz, with times in seconds.

    English with a transcript is aligned; what does not fit it, and everything else, is recognized
    phone by phone. `auto` with a transcript is English, unless script or words show otherwise;
    without one it is half way between English and other languages. tick gets samples.
    """
    levels = measure_levels(speech)
    spans = cut_utterances(levels)
    if not spans:
        return PhoneTrack((Phone(SIL, 0.0, speech.size / SAMPLE_RATE),), "silent", ())
    utterances = _read(speech, spans, _scale(levels))
    tick(0, speech.size)
    text = transcript or ""
    if not any(character.isalnum() for character in text):
        phones = _recognize(utterances, speech.size, tick)
        return PhoneTrack(phones, "allphone", (), _energy_share(language))
    english = is_english(language)
    words = spoken_words(text)
    aligner = Aligner() if english and latin_share(text) > LEAST_KNOWN else None
    if aligner is None or (language == "auto" and aligner.known(words) < LEAST_KNOWN):
        phones = _recognize(utterances, speech.size, tick)
        return PhoneTrack(phones, "allphone", (NOT_ENGLISH,), OTHER_LANGUAGE)
    aligner.add(words)
    return _align(utterances, words, aligner, speech.size, tick)


def is_english(language: str) -> bool:
    """Return whether a language tag is English, or `auto`, which may be."""
    return language.lower().replace("_", "-").partition("-")[0] in {"auto", "en", "eng"}


def _energy_share(language: str) -> float:
    if language == "auto":
        return UNKNOWN_LANGUAGE
    return 0.0 if is_english(language) else OTHER_LANGUAGE


def measure_levels(speech: Speech) -> NDArray[np.float32]:
    """Return the RMS of every 10 ms; the last step may be shorter."""
    levels = np.zeros(-(-speech.size // LEVEL_STEP), np.float32)
    for first in range(0, speech.size, READ):
        piece = np.asarray(speech[first : first + READ], np.float32)
        starts = np.arange(0, piece.size, LEVEL_STEP)
        power = np.add.reduceat(piece * piece, starts)
        counts = np.diff(starts, append=piece.size)
        at = first // LEVEL_STEP
        levels[at : at + starts.size] = np.sqrt(power / counts)
    return levels


def cut_utterances(levels: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return (first, last) levels of each utterance: long pauses left out, long speech cut.

    Speech is cut in its quietest moment between SHORTEST_CUT and LONGEST_UTTERANCE seconds.
    """
    voiced = np.flatnonzero(levels > _gate(levels))
    if not voiced.size:
        return []
    breaks = np.flatnonzero(np.diff(voiced) > LONGEST_PAUSE / FRAME)
    firsts = voiced[np.concatenate([[0], breaks + 1])]
    lasts = voiced[np.concatenate([breaks, [voiced.size - 1]])]
    margin = round(MARGIN / FRAME)
    spans = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        start, end = max(first - margin, 0), min(last + 1 + margin, levels.size)
        while end - start > LONGEST_UTTERANCE / FRAME:
            cut = _quietest(levels, start, end)
            spans.append((start, cut))
            start = cut
        spans.append((start, end))
    return spans


class Recognizer:
    """Hears phones without knowing the text. Holds the acoustic model, about 12 MB."""

    def __init__(self) -> None:
        model = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us-phone.lm.bin"
        self._decoder = pocketsphinx.Decoder(
            allphone=str(model), lm=None, dict=None, loglevel="FATAL", **ALLPHONE
        )

    def hear(self, sound: Sound) -> tuple[Phone, ...]:
        """Return the phones of an utterance, seconds from its start."""
        self._decoder.start_utt()
        self._decoder.process_raw(sound.tobytes(), full_utt=True)
        self._decoder.end_utt()
        return tuple(
            Phone(
                SIL if segment.word in SILENT else segment.word,
                segment.start_frame * FRAME,
                (segment.end_frame + 1) * FRAME,
            )
            for segment in self._decoder.seg() or ()
        )


class _Utterance(NamedTuple):
    start: float  # seconds
    end: float
    lead: float  # seconds of silence put before it
    sound: Sound

    def place(self, phones: Iterable[Phone]) -> Iterator[Phone]:
        """Yield the utterance's phones at their times in the speech."""
        for phone in phones:
            start = max(phone.start + self.start - self.lead, self.start)
            end = min(phone.end + self.start - self.lead, self.end)
            if end > start:
                yield Phone(phone.name, start, end)


def _read(speech: Speech, spans: list[tuple[int, int]], scale: float) -> Iterator[_Utterance]:
    """Yield each utterance as the recognizer wants it, one at a time."""
    for first, last in spans:
        piece = np.asarray(speech[first * LEVEL_STEP : last * LEVEL_STEP], np.float32)
        pad = max(round(SHORTEST_HEARD * SAMPLE_RATE) - piece.size, 0)
        noise = np.random.default_rng(first).standard_normal(piece.size + 2 * pad, np.float32)
        sound = DITHER * noise
        sound[pad : pad + piece.size] += piece * (scale * 32768)
        yield _Utterance(
            start=first * FRAME,
            end=first * FRAME + piece.size / SAMPLE_RATE,
            lead=pad / SAMPLE_RATE,
            sound=np.clip(np.rint(sound), -32768, 32767).astype(np.int16),
        )


def _recognize(utterances: Iterator[_Utterance], samples: int, tick: Tick) -> tuple[Phone, ...]:
    recognizer = Recognizer()
    phones: list[Phone] = []
    for utterance in utterances:
        phones += utterance.place(recognizer.hear(utterance.sound))
        tick(min(round(utterance.end * SAMPLE_RATE), samples), samples)
    return tuple(phones)


def _align(
    utterances: Iterator[_Utterance],
    words: Sequence[str],
    aligner: Aligner,
    samples: int,
    tick: Tick,
) -> PhoneTrack:
    """Walk through the text utterance by utterance; recognize those that it does not fit."""
    recognizer: Recognizer | None = None
    phones: list[Phone] = []
    at = fitted = missed = lost = 0
    lost_seconds = 0.0
    for utterance in utterances:
        seconds = utterance.end - utterance.start
        found = None
        if at < len(words) and lost < MOST_LOST:
            first = max(at - BACKWARD, 0)
            missing = round(lost_seconds * WORDS_PER_SECOND)
            last = at + missing + round(seconds * WORDS_PER_SECOND) + SPARE_WORDS
            latest = min(at + missing + FORWARD, len(words) - 1) - first
            passage = Passage(words[first:last], at - first, latest)
            pulse = partial(tick, round(utterance.start * SAMPLE_RATE), samples)
            found = aligner.align(utterance.sound, passage, pulse)
        if found:
            at, fitted, lost, lost_seconds = first + found.used, fitted + 1, 0, 0.0
            phones += utterance.place(found.phones)
        else:
            missed, lost, lost_seconds = missed + 1, lost + 1, lost_seconds + seconds
            recognizer = recognizer or Recognizer()
            phones += utterance.place(recognizer.hear(utterance.sound))
        tick(min(round(utterance.end * SAMPLE_RATE), samples), samples)
    source: Source = "aligned" if not missed else "mixed" if fitted else "allphone"
    return PhoneTrack(tuple(phones), source, _complaints(fitted, missed, len(words) - at))


def _complaints(fitted: int, missed: int, left: int) -> tuple[str, ...]:
    """Return warnings about utterances without text, and about words left over."""
    if not fitted:
        return ("the transcript does not fit the speech, which was heard without it",)
    warnings = []
    if missed:
        warnings.append(
            f"the transcript does not fit {missed} of {fitted + missed} stretches of speech, "
            "which were heard without it"
        )
    if left > 1:
        warnings.append(f"the last {left} words of the transcript were not heard")
    return tuple(warnings)


def _gate(levels: NDArray[np.float32]) -> float:
    """Return the level below which nothing is said."""
    loudest = float(np.percentile(levels, 95)) if levels.size else 0.0
    return max(SILENCE, loudest * 10 ** (-BELOW_SPEECH / 20))


def _scale(levels: NDArray[np.float32]) -> float:
    """Return the factor that makes quiet speech as loud as the recognizer is used to."""
    loudest = float(np.percentile(levels, 95))
    return min(LOUD_AS / max(loudest, 1e-9), MOST_SCALE)


def _quietest(levels: NDArray[np.float32], start: int, end: int) -> int:
    """Return where to cut within LONGEST_UTTERANCE after start."""
    window = round(PAUSE_WINDOW / FRAME)
    shortest = round(SHORTEST_CUT / FRAME)
    low = start + shortest
    high = min(start + round(LONGEST_UTTERANCE / FRAME), end - shortest)
    power = np.convolve(levels[low:high].astype(np.float64) ** 2, np.ones(window), "valid")
    return low + int(np.argmin(power)) + window // 2
