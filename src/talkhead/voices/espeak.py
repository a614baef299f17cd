"""The espeak-ng voice: over 100 languages and exact phone times, through its C library.

espeak-ng is GPL-3.0 and comes with the extra `espeak` only; nothing else imports this module.
"""

import ctypes
import difflib
import re
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import espeakng_loader

from talkhead.engines import Phone, Tick
from talkhead.errors import Code, TalkheadError
from talkhead.voices import Line
from talkhead.voices.espeak_phones import PLOSIVES, arpabet

OWN_PACE = 175  # words per minute, the library's default
SLOWEST, FASTEST = 80, 450  # the library ignores what lies outside
CLOSURE = 0.05  # seconds; the event of a plosive marks its burst, the lips closed before
SHORTEST = 0.02  # seconds that a closure leaves of the phone before it
LONGEST_SENTENCE = 300  # characters spoken at once, so that a cancel is soon heard

# What people write to what the library calls it.
ALIASES = {"en": "en-us", "zh": "cmn", "zh-cn": "cmn", "zh-tw": "cmn", "no": "nb", "fil": "id"}

# For language `auto`: the first script whose letters make up a fifth of the text decides, the
# narrower ones first. A script shared by many languages goes to its most spoken one.
SCRIPTS = (
    ("uk", r"[іїєґІЇЄҐ]", 0.02),
    ("ru", r"[\u0400-\u04ff]", 0.2),
    ("el", r"[\u0370-\u03ff]", 0.2),
    ("ja", r"[\u3040-\u30ff]", 0.1),
    ("ko", r"[\uac00-\ud7af]", 0.2),
    ("cmn", r"[\u4e00-\u9fff]", 0.2),
    ("fa", r"[پچژگ]", 0.02),
    ("ar", r"[\u0600-\u06ff]", 0.2),
    ("he", r"[\u0590-\u05ff]", 0.2),
    ("hi", r"[\u0900-\u097f]", 0.2),
    ("bn", r"[\u0980-\u09ff]", 0.2),
    ("pa", r"[\u0a00-\u0a7f]", 0.2),
    ("gu", r"[\u0a80-\u0aff]", 0.2),
    ("ta", r"[\u0b80-\u0bff]", 0.2),
    ("te", r"[\u0c00-\u0c7f]", 0.2),
    ("kn", r"[\u0c80-\u0cff]", 0.2),
    ("ml", r"[\u0d00-\u0d7f]", 0.2),
    ("th", r"[\u0e00-\u0e7f]", 0.2),
    ("ka", r"[\u10a0-\u10ff]", 0.2),
    ("hy", r"[\u0530-\u058f]", 0.2),
    ("am", r"[\u1200-\u137f]", 0.2),
)
DEFAULT_LANGUAGE = "en-us"

# espeak-ng's speak_lib.h
SYNCHRONOUS, PHONEME_EVENTS = 2, 1
DO_NOT_EXIT = 0x8000  # without it, missing data ends the process
UTF8, END_PAUSE = 1, 0x1000
PHONEME, TERMINATED = 7, 0
RATE = 1


class _Id(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("unused", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_LOCK = threading.Lock()  # the library is one global machine; held while it is in memory


class Mark(NamedTuple):
    """A phoneme's start, as the library reports it."""

    mnemonic: str
    sample: int


class Espeak:
    """Implements Voice."""

    def speak(self, line: Line, out: Path, tick: Tick) -> tuple[Phone, ...]:
        """Write a mono 16-bit WAV to out and return its phones with exact times.

        A line gives the same samples whatever was spoken before in this process. Raises
        E_INPUT_VALIDATION for a text without words, an unknown voice or speed.
        """
        if not re.search(r"\w", line.text):
            raise TalkheadError(
                Code.INPUT, "there is nothing to say", "write a text with words", fields=["text"]
            )
        if line.sample is not None or line.sample_text is not None:
            raise TalkheadError(
                Code.UNSUPPORTED,
                "espeak cannot clone a voice from a sample",
                "leave sample and sample_text out",
                fields=["sample"],
            )
        voice, speed = find_voice(line), _words_per_minute(line.speed)
        sentences = list(split_sentences(line.text))
        partial = out.with_name(f"{out.name}.partial")
        try:
            with _loaded() as (library, rate), wave.open(str(partial), "wb") as file:
                _prepare(library, voice, speed)
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(rate)
                marks = _speak_all(library, sentences, file.writeframesraw, tick)
                samples = file.tell()
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
        return phones_from(marks, samples, rate, voice)


def list_voices() -> dict[str, str]:
    """Return what may be asked for, language tag to the language's name."""
    return {tag: voice.name for tag, voice in sorted(_voices().items()) if tag in voice.tags}


def find_voice(line: Line) -> str:
    """Return the library's identifier of the line's voice, its variant included.

    The variant of the request (`espeak:fr`, `espeak:fr+f3`, `espeak:+f3`) comes before its
    language; `auto` is told from the script. Raises E_INPUT_VALIDATION with the nearest names.
    """
    wanted, _, timbre = (line.variant or "").partition("+")
    language = line.language if line.language != "auto" else guess_language(line.text)
    name = (wanted or language).strip().lower().replace("_", "-")
    known = _voices()
    found = known.get(ALIASES.get(name, name)) or known.get(name)
    if found is None and not wanted:  # a language's unknown region does not matter
        general = name.partition("-")[0]
        found = known.get(ALIASES.get(general, general))
    if found is None:
        field = "voice" if wanted else "language"
        raise _unknown(f"espeak has no voice {name!r}", name, [*known, *ALIASES], field)
    if timbre and timbre not in _timbres():
        raise _unknown(f"espeak has no variant '+{timbre}'", timbre, _timbres(), "voice")
    return f"{found.identifier}+{timbre}" if timbre else found.identifier


def guess_language(text: str) -> str:
    """Return the language that the text's script points to; Latin script is taken for English."""
    letters = max(sum(character.isalpha() for character in text), 1)
    for language, pattern, share in SCRIPTS:
        if len(re.findall(pattern, text)) >= share * letters:
            return language
    return DEFAULT_LANGUAGE


def split_sentences(text: str) -> Iterator[str]:
    """Yield the text in pieces of at most LONGEST_SENTENCE characters, cut where one may pause."""
    for sentence in re.split(r"(?<=[.!?…])\s+|(?<=[。！？])|\n\s*\n", text):
        rest = " ".join((sentence or "").split())
        while len(rest) > LONGEST_SENTENCE:
            head = rest[:LONGEST_SENTENCE]
            cut = max(head.rfind(mark) for mark in ",;:、，") + 1 or head.rfind(" ") + 1
            cut = cut or LONGEST_SENTENCE
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if re.search(r"\w", rest):
            yield rest


def phones_from(marks: list[Mark], samples: int, rate: int, voice: str) -> tuple[Phone, ...]:
    """Return phones without gaps from the library's marks in `samples` samples at `rate` Hz.

    The library marks a plosive's burst; its silent closure is counted as part of it.
    """
    language = voice.rpartition("/")[2].partition("+")[0].partition("-")[0]
    ends = [*(mark.sample for mark in marks), samples]
    phones = [Phone("SIL", 0.0, ends[0] / rate)]
    for mark, end in zip(marks, ends[1:], strict=True):
        names = arpabet(mark.mnemonic, language)
        start, step = mark.sample / rate, (end - mark.sample) / rate / max(len(names), 1)
        if names and names[0] in PLOSIVES:
            before = phones.pop()
            burst, start = start, max(start - CLOSURE, min(before.start + SHORTEST, start))
            phones.append(before._replace(end=start))
            step += (burst - start) / len(names)
        for index, name in enumerate(names):
            phones.append(Phone(name, start + index * step, start + (index + 1) * step))
        if not names:  # a length mark: the phone before goes on
            phones.append(phones.pop()._replace(end=end / rate))
    return tuple(phone for phone in phones if phone.end > phone.start)


class _Known(NamedTuple):
    identifier: str
    name: str
    tags: tuple[str, ...]


@contextmanager
def _loaded() -> Iterator[tuple[Any, int]]:
    """Yield the library, started afresh, and its sample rate in Hz; nobody else has it meanwhile.

    What the library keeps in its globals goes on sounding in the next utterance, and no call of
    it clears them all. So it leaves the memory after every use; loading it takes some 5 ms.
    """
    with _LOCK:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            yield library, _start(library)
        finally:
            library.espeak_Terminate()
            _unload(library)


def _start(library: Any) -> int:
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    data = espeakng_loader.get_data_path().encode()
    rate: int = library.espeak_Initialize(SYNCHRONOUS, 0, data, PHONEME_EVENTS | DO_NOT_EXIT)
    if rate <= 0:
        raise TalkheadError(
            Code.WEIGHTS,
            "espeak-ng does not start: its data is incomplete",
            'pip install --force-reinstall "talkhead[espeak]"',
        )
    return rate


def _unload(library: Any) -> None:
    """Give the library back to the system; none of its functions may be called after this."""
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    close(library._handle)  # ctypes itself never does


@cache
def _voices() -> dict[str, _Known]:
    """Return every voice by its language tags, its name and its file, all in lower case."""
    with _loaded() as (library, _):
        found = list(_read_voices(library))
    # the priority is lower for the usual voice of a language
    known: dict[str, _Known] = {}
    for _, tag, voice in sorted(found, key=lambda entry: entry[0]):
        known.setdefault(tag.lower(), voice)
    for _, _, voice in found:
        for other in (voice.name, voice.identifier, voice.identifier.rpartition("/")[2]):
            known.setdefault(other.lower(), voice)
    return known


def _read_voices(library: Any) -> Iterator[tuple[int, str, _Known]]:
    """Yield (priority, language tag, voice) for each language of each voice."""
    entries = library.espeak_ListVoices(None)
    index = 0
    while entries[index]:
        entry = entries[index].contents
        tags = list(_read_languages(entry.languages))
        names = tuple(tag.lower() for _, tag in tags)
        voice = _Known(entry.identifier.decode(), entry.name.decode(), names)
        for priority, tag in tags:
            yield priority, tag, voice
        index += 1


def _read_languages(address: int) -> Iterator[tuple[int, str]]:
    """Yield (priority, tag) from the library's list: a byte and a text each, ended by a zero."""
    while priority := ctypes.c_ubyte.from_address(address).value:
        tag = ctypes.string_at(address + 1)
        yield priority, tag.decode()
        address += len(tag) + 2


@cache
def _timbres() -> list[str]:
    """Return the names of the library's voice variants, such as f3."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    return sorted(path.name for path in folder.iterdir())


def _unknown(message: str, name: str, known: list[str], field: str) -> TalkheadError:
    near = difflib.get_close_matches(name, known, 3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "use a language tag such as en-us, fr or de"
    return TalkheadError(Code.INPUT, message, hint, fields=[field])


def _words_per_minute(speed: float) -> int:
    rate = round(OWN_PACE * speed)
    if not SLOWEST <= rate <= FASTEST:
        raise TalkheadError(
            Code.INPUT,
            f"espeak cannot speak at {speed:g} times its pace",
            f"choose a speed from {SLOWEST / OWN_PACE:.2f} to {FASTEST / OWN_PACE:.2f}",
            fields=["speed"],
        )
    return rate


def _prepare(library: Any, voice: str, words_per_minute: int) -> None:
    """Set voice and pace."""
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"espeak cannot load the voice {voice!r}",
            "choose another voice; this one needs data that is not installed",
            fields=["voice"],
        )
    library.espeak_SetParameter(RATE, words_per_minute, 0)


def _speak_all(
    library: Any, sentences: list[str], write: Callable[[bytes], object], tick: Tick
) -> list[Mark]:
    """Speak one sentence after another into write; return all marks, in samples of the whole."""
    marks: list[Mark] = []
    written = 0
    for index, sentence in enumerate(sentences):
        tick(index, len(sentences))
        sound, found = _speak_one(library, sentence)
        marks += [Mark(mark.mnemonic, mark.sample + written) for mark in found]
        write(sound)
        written += len(sound) // 2
    tick(len(sentences), len(sentences))
    return marks


def _speak_one(library: Any, sentence: str) -> tuple[bytes, list[Mark]]:
    """Return the sentence as 16-bit samples, and its marks."""
    sound = bytearray()
    marks: list[Mark] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if count > 0:
            sound.extend(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != TERMINATED:
            event = events[index]
            if event.type == PHONEME:
                text = bytes(event.id)[:8].split(b"\0")[0]
                marks.append(Mark(text.decode("utf-8", "replace"), event.sample))
            index += 1
        return 0

    callback = _Callback(receive)  # only called inside espeak_Synth below
    library.espeak_SetSynthCallback(callback)
    text = sentence.encode()
    status = library.espeak_Synth(
        text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, UTF8 | END_PAUSE, None, None
    )
    if status != 0:
        raise TalkheadError(Code.GENERATION, f"espeak failed with status {status}")
    return bytes(sound), marks
