import numpy as np
import pytest

from talkhead.engines.infinitetalk.loudness import TARGET, loudness, match_loudness

RATE = 16_000


def tone(seconds: float, level: float) -> np.ndarray:
    times = np.arange(int(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.3, 0.4, 2.0])
@pytest.mark.parametrize("level", [0.01, 0.3, 1.0])
def test_speech_is_brought_to_the_target(seconds: float, level: float) -> None:
    made = match_loudness(tone(seconds, level), RATE)
    assert made.dtype == np.float32
    assert loudness(made, RATE) == pytest.approx(TARGET, abs=0.05)


def test_short_speech_is_measured_as_long_speech_is() -> None:
    short, long = loudness(tone(0.3, 0.1), RATE), loudness(tone(3, 0.1), RATE)
    assert short == pytest.approx(long, abs=0.7)


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_silence_stays_silent(level: float) -> None:
    silence = np.full(RATE, level, np.float32)
    assert match_loudness(silence, RATE) is silence


def test_the_speech_itself_is_not_changed() -> None:
    samples = tone(1, 0.1)
    samples.flags.writeable = False
    assert match_loudness(samples, RATE) is not samples
