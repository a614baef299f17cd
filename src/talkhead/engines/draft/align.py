"""Forced alignment: when each phone of a known text is said.

A recognizer with a grammar made from the text finds which of the next words an utterance holds; two
more passes time them. The grammar may end after any word and may leave words out at a price, so
nobody has to know beforehand how the text falls on the utterances. Where the text and the speech
disagree, a second grammar also allows any phone between the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from talkhead.engines import Phone
from talkhead.engines.draft.words import pronounce

Sound = NDArray[np.int16]  # (n,), 16 kHz mono
Transition = tuple[int, int, float] | tuple[int, int, float, str]

# fmt: off
PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)
# fmt: on
LOOP_WORDS = {f"~{phone}": phone for phone in PHONES}  # words of one phone
SILENT = frozenset({"SIL", "+NSN+", "+SPN+"})
SAMPLE_RATE = 16_000  # Hz
FRAME = 0.01  # seconds

# Probabilities of the grammars.
NEXT, END, SKIP = 0.9, 0.1, 1e-3
ELSEWHERE = 0.01  # to begin at another word than the expected one
ENTER_LOOP, LOOP = 1e-8, 1e-3  # to leave the text, and for each phone there

# Scores are log-likelihoods per frame against the best sound for it. Right texts gave -11 to -15
# on read speech and -30 on espeak's, wrong ones -50 to -60.
LEAST_FIT = -40.0
STRETCH = 50  # frames; the worst half second tells of a word that the text lacks
WORST_STRETCH, WORST_SHARE = -40.0, 2.0  # at least so bad, and so much worse than usual
LOUD = 0.1  # of the utterance's loudest twentieth; such frames are speech
LEAST_COVERED = 0.8  # of the loud frames; a wrong text often ends up as one long silence
LEAST_WORDS = 0.5  # of the spoken time that must be the text's own words


class Aligned(NamedTuple):
    """An utterance's phones, and what of the text it holds."""

    phones: tuple[Phone, ...]  # seconds from the start of the utterance
    used: int  # how many of the given words lie before the utterance's end
    fit: float  # mean score
    words: float  # share of the spoken time that is the text's own words


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
        spoken = [entry for entry in self.entries if entry[1] not in SILENT]
        looped = sum(entry[3] for entry in spoken if entry[0] in LOOP_WORDS)
        total = sum(entry[3] for entry in spoken)
        phones = tuple(
            Phone("SIL" if name in SILENT else name, start * FRAME, (start + frames) * FRAME)
            for _, name, start, frames, _ in self.entries
        )
        return Aligned(phones, self.used, self.fit, 1 - looped / total if total else 0.0)


class Aligner:
    """Times words in utterances. Holds the acoustic model and the dictionary, about 40 MB."""

    def __init__(self) -> None:
        # without bestpath the word times come from one path and always fit the second pass
        self._decoder = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL")
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

    def align(self, sound: Sound, words: Sequence[str], expected: int) -> Aligned | None:
        """Return how the utterance says a run of the words, or None where it does not.

        The run is likely to start at words[expected]. All words must be known or added.
        """
        plain = self._run(sound, words, expected, _grammar(words, expected))
        loud = _loud(sound)
        if plain and plain.fits(loud) and not plain.doubtful:
            return plain.aligned
        loose = self._run(sound, words, expected, _loose_grammar(words, expected))
        if loose and loose.fits(loud) and loose.aligned.words >= LEAST_WORDS:
            return loose.aligned
        return None

    def _run(
        self, sound: Sound, words: Sequence[str], expected: int, grammar: list[Transition]
    ) -> _Timed | None:
        decoder, final = self._decoder, len(words)
        decoder.add_fsg("text", decoder.create_fsg("text", final + 1, final, grammar))
        decoder.activate_search("text")
        self._pass(sound)
        if decoder.hyp() is None:
            return None
        segments = [segment.word for segment in decoder.seg()]
        said = [_bare(word) for word in segments if not word.startswith(("<", "[", "("))]
        if not said:
            return None
        decoder.set_align_text(" ".join(said))
        self._pass(sound)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        try:
            self._pass(sound)
            entries = [
                (_bare(word.name), phone.name, phone.start, phone.duration, phone.score)
                for word in decoder.get_alignment()
                for phone in word
            ]
        except RuntimeError:  # too few frames for the phones
            return None
        return _Timed(entries, _count_used(said, words, expected))

    def _pass(self, sound: Sound) -> None:
        """Run the active search over the utterance."""
        self._decoder.start_utt()
        self._decoder.process_raw(sound.tobytes(), full_utt=True)
        self._decoder.end_utt()


def _grammar(words: Sequence[str], expected: int) -> list[Transition]:
    """Return transitions between len(words) + 2 states; the last one is the start.

    State i lies before words[i], state len(words) is the end.
    """
    final = len(words)
    start = final + 1
    grammar: list[Transition] = [(start, expected, NEXT)]
    for index, word in enumerate(words):
        grammar.append((start, index, ELSEWHERE / final))
        grammar.append((index, index + 1, NEXT, word))
        grammar.append((index, index + 1, SKIP))
        grammar.append((index, final, END))
    return grammar


def _loose_grammar(words: Sequence[str], expected: int) -> list[Transition]:
    """Return the grammar with a loop over all phones before and after every word."""
    grammar = _grammar(words, expected)
    for index in range(len(words) + 1):
        loop = len(words) + 2 + index
        grammar.append((index, loop, ENTER_LOOP))
        grammar += [(loop, loop, LOOP, word) for word in LOOP_WORDS]
        grammar.append((loop, index, NEXT))
    return grammar


def _loud(sound: Sound) -> NDArray[np.bool_]:
    """Return for each frame whether there is speech for certain."""
    step = round(FRAME * SAMPLE_RATE)
    frames = sound[: sound.size // step * step].reshape(-1, step).astype(np.float32)
    levels = np.sqrt(np.mean(frames**2, axis=1))
    loud: NDArray[np.bool_] = levels > LOUD * np.percentile(levels, 95)
    return loud


def _bare(word: str) -> str:
    """Return the word without the number of its pronunciation, as in to(2)."""
    return word.partition("(")[0]


def _count_used(said: Sequence[str], words: Sequence[str], expected: int) -> int:
    """Return how many of the words lie before the end of what was said."""
    text = [word for word in said if word not in LOOP_WORDS]
    ends = []
    for start in sorted(range(len(words)), key=lambda index: abs(index - expected)):
        end = start
        for word in text:
            end = next((i + 1 for i in range(end, len(words)) if words[i] == word), len(words) + 1)
        if end <= len(words):
            ends.append((end - start, end))
    # the run with the fewest words left out; among equals, the one nearest to the expected start
    return min(ends, key=lambda span: span[0])[1] if text and ends else 0
