"""Forced alignment: when each phone of a known text is said.

A recognizer with a grammar made from the text finds which of the next words an utterance holds; two
more passes time them. The grammar may end after any word and may leave words out at a price, so
nobody has to know beforehand how the text falls on the utterances. Where the text and the speech
disagree, a second grammar also allows any phone between the words.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from talkhead.engines import Phone
from talkhead.engines.draft.words import pronounce

Sound = NDArray[np.int16]  # (n,), 16 kHz mono
Transition = tuple[int, int, float] | tuple[int, int, float, str]

# What may be said beside the text: enough phones for every mouth shape, and no more, for speed.
# fmt: off
PHONES = (
    "AA", "AE", "AH", "B", "D", "DH", "EH", "ER", "F", "G", "HH", "IH", "IY", "K", "L", "M", "N",
    "OW", "P", "R", "S", "SH", "T", "UW", "V", "W", "Z",
)
# fmt: on
LOOP_WORDS = {f"~{phone}": phone for phone in PHONES}  # words of one phone
BEAMS = {"beam": 1e-30, "pbeam": 1e-30, "wbeam": 1e-18}  # the defaults are slower, no better
SILENT = frozenset({"SIL", "+NSN+", "+SPN+"})
SAMPLE_RATE = 16_000  # Hz
FRAME = 0.01  # seconds

HUSH = 0.2  # seconds

# Probabilities of the grammars.
NEXT, END, SKIP = 0.9, 0.1, 1e-2
ELSEWHERE = 0.01  # to begin at another word than the expected one
ENTER_LOOP, LOOP = 1e-12, 1e-3  # to leave the text, and for each phone there

# Scores are log-likelihoods per frame against the best sound for it. Right texts gave -11 to -15
# on read speech and -30 on espeak's, wrong ones -50 to -60.
LEAST_FIT = -40.0
STRETCH = 50  # frames; the worst half second tells of a word that the text lacks
WORST_STRETCH, WORST_SHARE = -40.0, 2.0  # at least so bad, and so much worse than usual
LOUD = 0.1  # of the utterance's loudest twentieth; such frames are speech
LEAST_COVERED = 0.8  # of the loud frames; a wrong text often ends up as one long silence
LEAST_WORDS = 0.5  # of the spoken time that must be the text's own words


class Passage(NamedTuple):
    """The part of a text in which an utterance is looked for."""

    words: Sequence[str]
    expected: int  # the word that it is likely to start with
    latest: int  # the last word that it may start with


class Aligned(NamedTuple):
    """An utterance's phones, and what of the text it holds."""

    phones: tuple[Phone, ...]  # seconds from the start of the utterance
    used: int  # how many of the passage's words lie before the utterance's end


class _Timed(NamedTuple):
    """What the last pass found."""

    entries: list[tuple[str, str, int, int, int]]  # word, phone, start, frames, score of all frames
    used: int

    @property
    def fit(self) -> float:
        """Return the mean score."""
        return sum(entry[4] for entry in self.entries) / sum(entry[3] for entry in self.entries)

    def fits(self, loud: NDArray[np.bool_]) -> bool:
        """Return whether phones lie where there is speech, and sound as they should."""
        spoken = np.concatenate(
            [np.full(entry[3], entry[1] not in SILENT) for entry in self.entries]
        )
        covered = spoken[: loud.size][loud[: spoken.size]]
        return self.fit > LEAST_FIT and covered.size > 0 and covered.mean() > LEAST_COVERED

    @property
    def doubtful(self) -> bool:
        """Return whether some stretch fits much worse than the rest."""
        scores = [np.full(n, score / n) for _, name, _, n, score in self.entries if name != "SIL"]
        flat = np.concatenate([*scores, np.zeros(0)])
        if flat.size < STRETCH:
            return False
        worst = np.convolve(flat, np.full(STRETCH, 1 / STRETCH), "valid").min()
        return bool(worst < min(WORST_STRETCH, WORST_SHARE * np.median(flat)))

    @property
    def aligned(self) -> Aligned:
        """Return the finding in seconds."""
        phones = tuple(
            Phone("SIL" if name in SILENT else name, start * FRAME, (start + frames) * FRAME)
            for _, name, start, frames, _ in self.entries
        )
        return Aligned(phones, self.used)


class Aligner:
    """Times words in utterances. Holds the acoustic model and the dictionary, about 40 MB."""

    def __init__(self) -> None:
        # without bestpath the word times come from one path and always fit the second pass
        self._decoder = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL", **BEAMS)
        for word, phone in LOOP_WORDS.items():
            self._decoder.add_word(word, phone, False)

    def known(self, words: Sequence[str]) -> float:
        """Return which share of the words the dictionary has, 0 to 1."""
        found = sum(self._decoder.lookup_word(word) is not None for word in words)
        return found / len(words) if words else 0.0

    def add(self, words: Sequence[str]) -> None:
        """Make up a pronunciation for each word that the dictionary lacks."""
        lookup = self._decoder.lookup_word
        for word in dict.fromkeys(words):
            if lookup(word) is None:
                self._decoder.add_word(word, pronounce(word, lookup), False)

    def align(self, sound: Sound, passage: Passage, pulse: Callable[[], None]) -> Aligned | None:
        """Return how the utterance says a run of the passage's words, or None where it does not.

        All words must be known or added. pulse is called after each of up to six passes.
        """
        loud = _loud(sound)
        sound = np.concatenate([sound, _hush()])
        plain = self._run(sound, passage, _grammar(passage), pulse)
        plain = plain if plain and plain.fits(loud) else None
        if plain and not plain.doubtful:
            return plain.aligned
        loose = self._run(sound, passage, _loose_grammar(passage), pulse)
        best = loose if loose and loose.fits(loud) else plain
        return best.aligned if best else None

    def _run(
        self, sound: Sound, passage: Passage, grammar: list[Transition], pulse: Callable[[], None]
    ) -> _Timed | None:
        decoder, final = self._decoder, len(passage.words)
        decoder.add_fsg("text", decoder.create_fsg("text", final + 1, final, grammar))
        decoder.activate_search("text")
        said = self._listen(sound, pulse)
        if not said or _text_share(said) < LEAST_WORDS:
            return None
        said_words = [word for word, _ in said]
        decoder.set_align_text(" ".join(said_words))
        if not self._listen(sound, pulse):
            return None
        try:
            decoder.set_alignment()
            self._pass(sound, pulse)
            entries = [
                (_bare(word.name), phone.name, phone.start, phone.duration, phone.score)
                for word in decoder.get_alignment()
                for phone in word
            ]
        except RuntimeError:  # too few frames for the phones
            return None
        return _Timed(entries, _count_used(said_words, passage))

    def _listen(self, sound: Sound, pulse: Callable[[], None]) -> list[tuple[str, int]]:
        """Run the active search; return the words said and their frames, none if it found no way.

        Silence and noise are left out.
        """
        self._pass(sound, pulse)
        if self._decoder.hyp() is None:
            return []
        segments = [(s.word, s.end_frame - s.start_frame + 1) for s in self._decoder.seg()]
        return [(_bare(word), n) for word, n in segments if not word.startswith(("<", "[", "("))]

    def _pass(self, sound: Sound, pulse: Callable[[], None]) -> None:
        """Run the active search over the utterance."""
        self._decoder.start_utt()
        self._decoder.process_raw(sound.tobytes(), full_utt=True)
        self._decoder.end_utt()
        pulse()


def _grammar(passage: Passage) -> list[Transition]:
    """Return transitions between len(words) + 2 states; the last one is the start.

    State i lies before words[i], state len(words) is the end.
    """
    words, expected, latest = passage
    final = len(words)
    grammar: list[Transition] = [(final + 1, expected, NEXT)]
    grammar += [(final + 1, index, ELSEWHERE / (latest + 1)) for index in range(latest + 1)]
    for index, word in enumerate(words):
        grammar.append((index, index + 1, NEXT, word))
        grammar.append((index, index + 1, SKIP))
        grammar.append((index, final, END))
    return grammar


def _loose_grammar(passage: Passage) -> list[Transition]:
    """Return the grammar with a loop over all phones before and after every word."""
    grammar = _grammar(passage)
    states = len(passage.words) + 2
    for index in range(len(passage.words) + 1):
        grammar.append((index, states + index, ENTER_LOOP))
        grammar += [(states + index, states + index, LOOP, word) for word in LOOP_WORDS]
        grammar.append((states + index, index, NEXT))
    return grammar


def _text_share(said: Sequence[tuple[str, int]]) -> float:
    """Return which share of the frames is taken by words of the text."""
    looped = sum(frames for word, frames in said if word in LOOP_WORDS)
    return 1 - looped / sum(frames for _, frames in said)


def _loud(sound: Sound) -> NDArray[np.bool_]:
    """Return for each frame whether there is speech for certain."""
    step = round(FRAME * SAMPLE_RATE)
    frames = sound[: sound.size // step * step].reshape(-1, step).astype(np.float32)
    levels = np.sqrt(np.mean(frames**2, axis=1))
    loud: NDArray[np.bool_] = levels > LOUD * np.percentile(levels, 95)
    return loud


def _hush() -> Sound:
    """Return silence to end an utterance with: a word cut off at its very end is lost else."""
    noise = np.random.default_rng(0).standard_normal(round(HUSH * SAMPLE_RATE))
    return np.rint(noise).astype(np.int16)


def _bare(word: str) -> str:
    """Return the word without the number of its pronunciation, as in to(2)."""
    return word.partition("(")[0]


def _count_used(said: Sequence[str], passage: Passage) -> int:
    """Return how many of the passage's words lie before the end of what was said."""
    words, expected, latest = passage
    text = [word for word in said if word not in LOOP_WORDS]
    spans = []
    for start in range(latest + 1):
        end = start
        for word in text:
            end = next((i + 1 for i in range(end, len(words)) if words[i] == word), len(words) + 1)
        if end <= len(words):
            spans.append((end - start, abs(start - expected), end))
    # the run with the fewest words left out; among equals, the one nearest to the expected start
    return min(spans)[2] if text and spans else 0
