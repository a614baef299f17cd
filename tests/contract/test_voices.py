"""What every voice promises, for each voice of the registry."""

import subprocess
import sys
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talkhead import registry
from talkhead.errors import Code, TalkheadError
from talkhead.voices import Line, Voice

TEXT = "Peter baked more muffins before Mary moved home."


@pytest.fixture(params=sorted(registry.VOICES), scope="module")
def voice(request: pytest.FixtureRequest) -> Voice:
    made: Voice = registry.resolve("voice", request.param, registry.VOICES)()
    return made


def spoken(voice: Voice, line: Line, path: Path) -> tuple[np.ndarray, int, object]:
    phones = voice.speak(line, path, lambda done, total: None)
    with wave.open(str(path)) as source:
        assert (source.getnchannels(), source.getsampwidth()) == (1, 2)
        samples = np.frombuffer(source.readframes(source.getnframes()), "<i2")
        return samples, source.getframerate(), phones


def test_text_becomes_sound_with_phones_inside_it(voice: Voice, tmp_path: Path) -> None:
    samples, rate, phones = spoken(voice, Line(TEXT), tmp_path / "a.wav")
    seconds = len(samples) / rate
    assert 1.5 < seconds < 8
    assert np.abs(samples).max() > 1000
    if phones is not None:
        assert phones[0].start >= 0
        assert phones[-1].end <= seconds + 1e-6
        assert all(a.end <= b.start + 1e-9 for a, b in pairwise(phones))
        assert {"P", "B", "M"} <= {phone.name for phone in phones}


def test_speed_changes_the_length(voice: Voice, tmp_path: Path) -> None:
    plain, _, _ = spoken(voice, Line(TEXT), tmp_path / "a.wav")
    fast, _, _ = spoken(voice, Line(TEXT, speed=1.6), tmp_path / "b.wav")
    assert len(fast) < 0.8 * len(plain)


SPEAKER = """
import sys
from pathlib import Path
from talkhead import registry
from talkhead.voices import Line
voice = registry.resolve("voice", sys.argv[1], registry.VOICES)()
voice.speak(Line(sys.argv[2]), Path(sys.argv[3]), lambda done, total: None)
"""
OTHERS = ("Odd words, s and f and sh.", "A third line.")


@pytest.mark.parametrize("name", sorted(registry.VOICES))
def test_a_line_sounds_the_same_whatever_was_spoken_before(name: str, tmp_path: Path) -> None:
    voice: Voice = registry.resolve("voice", name, registry.VOICES)()
    fresh = tmp_path / "fresh.wav"
    subprocess.run([sys.executable, "-c", SPEAKER, name, TEXT, str(fresh)], check=True)
    seen = set()
    for number, before in enumerate(([], [TEXT], OTHERS[:1], [*OTHERS, TEXT])):
        for line in before:
            spoken(voice, Line(line, speed=1.3), tmp_path / "other.wav")
        phones = spoken(voice, Line(TEXT), tmp_path / f"{number}.wav")[2]
        assert (tmp_path / f"{number}.wav").read_bytes() == fresh.read_bytes()
        seen.add(str(phones))
    assert len(seen) == 1


def test_a_tick_can_stop_it(voice: Voice, tmp_path: Path) -> None:
    def tick(done: int, total: int) -> None:
        raise TalkheadError(Code.CANCELLED, "stop")

    with pytest.raises(TalkheadError):
        voice.speak(Line(f"{TEXT} {TEXT} {TEXT}"), tmp_path / "a.wav", tick)


def test_an_unknown_variant_is_named(voice: Voice, tmp_path: Path) -> None:
    with pytest.raises(TalkheadError) as caught:
        voice.speak(Line(TEXT, variant="nonsense"), tmp_path / "a.wav", lambda d, t: None)
    assert caught.value.code is Code.INPUT
