import threading
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talkhead.engines import Phone
from talkhead.engines.draft.visemes import TARGETS
from talkhead.errors import Code, TalkheadError
from talkhead.voices import Line, espeak
from talkhead.voices.espeak import (
    Espeak,
    Mark,
    find_voice,
    guess_language,
    list_voices,
    phones_from,
    split_sentences,
)
from talkhead.voices.espeak_phones import arpabet

GREETINGS = {
    "en": "The quick brown fox jumps over the lazy dog.",
    "de": "Guten Morgen, schöne Häuser über Köln, acht Pferde.",
    "fr": "Bonjour, un bon vin blanc, la peur, deux feux, hier huit montagnes.",
    "es": "Buenos días, el perro corre por la calle, la niña, agua, huevo.",
    "it": "Buongiorno, gli gnocchi sono buoni, la zia mangia la pizza.",
    "pt-br": "Bom dia, meu nome é João, não, mãe, coração, filha.",
    "nl": "Goedemorgen, ik hou van het mooie huis, de deur, vuur, ui.",
    "pl": "Dzień dobry, chrząszcz brzmi w trzcinie, żółty, gęś, źrebak.",
    "ru": "Здравствуйте, меня зовут Иван, щука, жизнь, чай.",
    "cmn": "你好,我叫小明,今天我们来看一个新的节目。",
    "ja": "こんにちは、わたしのなまえはさくらです。",
    "ko": "안녕하세요 제 이름은 민수입니다",
    "hi": "नमस्ते मेरा नाम राम है भारत घर",
    "ar": "مرحبا اسمي محمد صباح الخير",
    "tr": "Merhaba benim adım Çağla, güzel şişe, ılık.",
    "da": "God morgen, rød grød med fløde, hund.",
}


def ignore(done: int, total: int) -> None:
    """Take no notice of progress."""


def speak(tmp_path: Path, text: str, **line: object) -> tuple[tuple[Phone, ...], np.ndarray, int]:
    out = tmp_path / "speech.wav"
    phones = Espeak().speak(Line(text, **line), out, ignore)
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return phones, sound, file.getframerate()


def refused(text: str, **line: object) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        Espeak().speak(Line(text, **line), Path("never.wav"), ignore)
    assert caught.value.code == Code.INPUT
    assert not Path("never.wav").exists()
    return caught.value


@pytest.mark.parametrize("language", GREETINGS)
def test_phones_fill_the_speech_in_every_language(tmp_path: Path, language: str) -> None:
    phones, sound, rate = speak(tmp_path, GREETINGS[language], language=language)
    assert phones[0].start == 0
    assert phones[-1].end == pytest.approx(sound.size / rate)
    for phone, after in pairwise(phones):
        assert phone.end == pytest.approx(after.start)
        assert phone.end > phone.start
    assert {phone.name for phone in phones} <= {*TARGETS, "SIL"}
    vague = sum(phone.name == "AH" for phone in phones) / len(phones)
    assert vague < 0.3
    assert sum(phone.name != "SIL" for phone in phones) > 12


def test_a_closure_lies_where_the_sound_stops(tmp_path: Path) -> None:
    phones, sound, rate = speak(tmp_path, "papa", language="en-us")
    second = [phone for phone in phones if phone.name == "P"][1]
    assert [p.name for p in phones if p.name != "SIL"][:3] == ["P", "AA", "P"]
    levels = np.abs(sound.astype(np.float64))
    closed = levels[int((second.start + 0.01) * rate) : int((second.start + 0.04) * rate)].mean()
    open_ = levels[int((second.start - 0.06) * rate) : int((second.start - 0.02) * rate)].mean()
    assert closed < 0.1 * open_


def test_sentences_follow_each_other_and_pause(tmp_path: Path) -> None:
    one, sound, rate = speak(tmp_path, "Mama met Bob.")
    both, sounds, _ = speak(tmp_path, "Mama met Bob. Mama met Bob.")
    assert sounds.size == pytest.approx(2 * sound.size, rel=0.02)
    offset = sound.size / rate
    starts = [p.start for p in both if p.name == "M"]
    assert starts[3] - starts[0] == pytest.approx(offset, abs=0.03)
    assert [p.name for p in both if p.name != "SIL"] == 2 * [p.name for p in one if p.name != "SIL"]
    pause = max(p.end - p.start for p in both if p.name == "SIL")
    assert pause > 0.2


def test_speed_changes_the_pace(tmp_path: Path) -> None:
    text = GREETINGS["en"]
    slow, usual, fast = (speak(tmp_path, text, speed=s)[1].size for s in (0.6, 1.0, 1.8))
    assert slow > 1.3 * usual
    assert fast < 0.75 * usual


@pytest.mark.parametrize(
    ("line", "voice"),
    [
        ({}, "gmw/en-US"),
        ({"language": "en-GB"}, "gmw/en"),
        ({"language": "fr"}, "roa/fr"),
        ({"language": "fr_FR"}, "roa/fr"),
        ({"language": "de-XX"}, "gmw/de"),
        ({"language": "zh-TW"}, "sit/cmn"),
        ({"variant": "fr"}, "roa/fr"),
        ({"variant": "pt-br", "language": "fr"}, "roa/pt-BR"),
        ({"variant": "German"}, "gmw/de"),
        ({"variant": "roa/es"}, "roa/es"),
        ({"variant": "fr+f3"}, "roa/fr+f3"),
        ({"variant": "+f3", "language": "de"}, "gmw/de+f3"),
    ],
)
def test_voices_by_any_name(line: dict[str, str], voice: str) -> None:
    assert find_voice(Line("hello", **line)) == voice


def test_unknown_voices_name_the_nearest() -> None:
    assert "french" in refused("hi", variant="frenchy").hint
    assert refused("hi", variant="frenchy").fields == ("voice",)
    assert refused("hi", language="qq").fields == ("language",)
    assert refused("hi", variant="fr-ZZ").fields == ("voice",)
    assert "f3" in refused("hi", variant="fr+f33").hint


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!"])
def test_nothing_to_say_is_refused(text: str) -> None:
    assert "nothing to say" in refused(text).message


@pytest.mark.parametrize("speed", [0.25, 4.0])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    error = refused("hello", speed=speed)
    assert error.fields == ("speed",)
    assert "0.46 to 2.57" in error.hint


def test_every_listed_voice_can_be_found() -> None:
    voices = list_voices()
    assert len(voices) > 100
    assert {"en-us", "fr", "de", "es", "it", "cmn", "ja", "ru", "ar"} <= set(voices)
    for tag in voices:
        assert find_voice(Line("hi", variant=tag))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello there", "en-us"),
        ("Bonjour, ça va ?", "en-us"),
        ("Привет, мир", "ru"),
        ("Привіт, як твої справи, її їжак", "uk"),
        ("Γειά σου", "el"),
        ("你好，世界", "cmn"),
        ("日本語のテキストです", "ja"),
        ("안녕하세요", "ko"),
        ("مرحبا بالعالم", "ar"),
        ("नमस्ते", "hi"),
        ("I said привет to him and went away from there", "en-us"),
        ("42", "en-us"),
    ],
)
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert guess_language(text) == language


def test_sentences_are_cut_where_one_pauses() -> None:
    assert list(split_sentences("One. Two!  Three?\n\nFour")) == ["One.", "Two!", "Three?", "Four"]
    assert list(split_sentences("你好。再见。")) == ["你好。", "再见。"]
    assert list(split_sentences("Pi is 3.14 today. ... !")) == ["Pi is 3.14 today."]
    long = ", ".join(["some words in a row"] * 60)
    pieces = list(split_sentences(long))
    assert all(len(piece) <= espeak.LONGEST_SENTENCE for piece in pieces)
    assert " ".join(pieces) == long
    assert [len(piece) for piece in split_sentences("x" * 700)] == [300, 300, 100]


def test_cancel_is_heard_and_leaves_nothing(tmp_path: Path) -> None:
    seen = []

    def tick(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise TalkheadError(Code.CANCELLED, "enough")

    with pytest.raises(TalkheadError, match="enough"):
        Espeak().speak(Line("One. Two. Three. Four."), tmp_path / "out.wav", tick)
    assert seen == [(0, 4), (1, 4), (2, 4)]
    assert list(tmp_path.iterdir()) == []
    assert speak(tmp_path, "Again.")[1].size > 0


def test_threads_take_turns(tmp_path: Path) -> None:
    alone = {
        lang: speak(tmp_path, GREETINGS[lang], language=lang)[0] for lang in ("en", "fr", "ja")
    }
    found: dict[str, tuple[Phone, ...]] = {}

    def work(lang: str) -> None:
        line = Line(GREETINGS[lang], lang)
        found[lang] = Espeak().speak(line, tmp_path / f"{lang}.wav", ignore)

    threads = [threading.Thread(target=work, args=(lang,)) for lang in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_a_line_that_was_cancelled_leaves_nothing_sounding(tmp_path: Path) -> None:
    _, sound, _ = speak(tmp_path, GREETINGS["en"])

    def enough(done: int, total: int) -> None:
        if done == 1:
            raise TalkheadError(Code.CANCELLED, "enough")

    with pytest.raises(TalkheadError, match="enough"):
        Espeak().speak(Line("One, odd fuss. Two."), tmp_path / "out.wav", enough)
    assert np.array_equal(speak(tmp_path, GREETINGS["en"])[1], sound)


def test_missing_data_is_named_and_the_next_line_is_spoken(tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(espeak.espeakng_loader, "get_data_path", lambda: str(tmp_path))
        with pytest.raises(TalkheadError, match="data is incomplete") as caught, espeak._loaded():
            pass
        assert caught.value.code is Code.WEIGHTS
    assert speak(tmp_path, "Again.")[1].size > 0


def test_marks_become_phones() -> None:
    marks = [Mark("b", 1000), Mark("'aI3", 2000), Mark(":", 4000), Mark("(en)", 5000)]
    phones = phones_from([*marks, Mark("_:", 6000)], 8000, 10_000, "gmw/en-US+f3")
    assert [phone.name for phone in phones] == ["SIL", "B", "AY", "ER", "SIL"]
    starts = [phone.start for phone in phones]
    assert starts == pytest.approx([0, 0.05, 0.2, 0.3, 0.6])
    assert phones[-1].end == pytest.approx(0.8)
    assert phones_from([], 100, 100, "roa/fr") == (Phone("SIL", 0.0, 1.0),)


@pytest.mark.parametrize(
    ("mnemonic", "language", "names"),
    [
        ("'A:", "en", ["AA"]),
        ("tS", "en", ["CH"]),
        ("ts.h", "cmn", ["CH"]),
        ("t[", "ar", ["T"]),
        ("pF", "de", ["P", "F"]),
        ("r", "en", ["R"]),
        ("r", "es", ["D"]),
        ("?W", "da", ["AO"]),
        ("(fr)", "en", []),
        (":", "en", []),
        ("_:", "en", ["SIL"]),
        ("ʘ", "en", ["AH"]),
    ],
)
def test_mnemonics(mnemonic: str, language: str, names: list[str]) -> None:
    assert list(arpabet(mnemonic, language)) == names
