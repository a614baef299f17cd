from pathlib import Path

import av
import numpy as np
import pytest

from support.media import decoded_sound, tone, write_sound
from talkhead.media.soundtrack import RATE, Sound, write_soundtrack
from talkhead.media.speech import Part


def _track_seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.start_time == 0
        assert stream.duration is not None
        assert stream.time_base is not None
        return float(stream.duration * stream.time_base)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_stay_what_they_are_and_in_time(tmp_path: Path, channels: int) -> None:
    source = tone(1.2, 44_100, channels)
    source *= np.linspace(0.4, 1, channels)[:, None].astype(np.float32)
    path = write_sound(tmp_path / "a.wav", source, 44_100)
    write_soundtrack([Sound(path, Part(0, 1.2))], 1.2, tmp_path / "out.m4a")
    assert _track_seconds(tmp_path / "out.m4a") == pytest.approx(1.2, abs=0.002)
    sound = decoded_sound(tmp_path / "out.m4a")
    assert len(sound) == channels
    times = np.arange(sound.shape[1]) / RATE
    inner = slice(RATE // 5, RATE)
    for index in set(range(channels)) - {3}:  # AAC keeps only the lowest tones of that one
        level = 0.5 * (1 if channels == 1 else 0.4 + 0.6 * index / (channels - 1))
        level = level if channels > 1 else 0.2
        expected = level * np.sin(2 * np.pi * 440 * times)
        assert np.abs(sound[index, inner] - expected[inner]).mean() < 0.02


def test_a_click_stays_where_it_was(tmp_path: Path) -> None:
    source = np.zeros((1, 16_000), np.float32)
    source[0, 8000:8040] = 0.8
    path = write_sound(tmp_path / "a.wav", source, 16_000)
    write_soundtrack([Sound(path, Part(0.25, 1))], 1.5, tmp_path / "out.m4a")
    sound = decoded_sound(tmp_path / "out.m4a")[0]
    energy = sound.astype(float) ** 2
    middle = (energy * np.arange(len(sound))).sum() / energy.sum() / RATE
    assert middle == pytest.approx(0.75 + 20 / 16_000, abs=0.002)


def test_several_voices_are_mixed_below_full_scale(tmp_path: Path) -> None:
    low = write_sound(tmp_path / "low.wav", 1.8 * tone(1, 48_000, 1, 300), 48_000)
    high = write_sound(tmp_path / "high.wav", 1.8 * tone(1, 44_100, 2, 1000), 44_100)
    sounds = [Sound(low, Part(0, 1)), Sound(high, Part(0.5, 1))]
    write_soundtrack(sounds, 2, tmp_path / "out.m4a")
    sound = decoded_sound(tmp_path / "out.m4a")
    assert len(sound) == 2
    spectrum = np.abs(np.fft.rfft(sound[0].reshape(-1)[: 2 * RATE].reshape(4, -1), axis=1))
    bin_hertz = RATE / (2 * RATE // 4)
    loud_low, loud_high = spectrum[:, round(300 / bin_hertz)], spectrum[:, round(1000 / bin_hertz)]
    assert (loud_low > 1000).tolist() == [True, True, False, False]
    assert (loud_high > 1000).tolist() == [False, True, True, False]
    assert np.abs(sound).max() < 1.1  # AAC itself overshoots a little
    # alone, a voice is untouched
    first = sound[0, RATE // 8 : 3 * RATE // 8]
    assert np.abs(first).max() == pytest.approx(0.9, abs=0.03)


def test_a_part_is_cut_where_it_ends(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2, 48_000), 48_000)
    write_soundtrack([Sound(path, Part(0.2, 0.5))], 1.5, tmp_path / "out.m4a")
    sound = np.abs(decoded_sound(tmp_path / "out.m4a")[0])
    assert sound[: int(0.18 * RATE)].max() < 0.02
    assert sound[int(0.3 * RATE) : int(0.6 * RATE)].max() > 0.45
    assert sound[int(0.74 * RATE) :].max() < 0.02


@pytest.mark.parametrize("seconds", [1 / 25, 0.3, 0.30001, 1, 3.3, 20.02])
def test_the_length_is_exact(tmp_path: Path, seconds: float) -> None:
    path = write_sound(tmp_path / "a.wav", tone(3, 16_000), 16_000)
    write_soundtrack([Sound(path, Part(0, 3))], seconds, tmp_path / "out.m4a")
    assert _track_seconds(tmp_path / "out.m4a") == pytest.approx(seconds, abs=0.001)


def test_odd_layouts_become_stereo(tmp_path: Path) -> None:
    for layout, count in (("quad", 4), ("7.1", 8)):
        source = tone(0.5, 48_000, count)
        path = write_sound(tmp_path / "a.wav", source, 48_000, layout=layout)
        write_soundtrack([Sound(path, Part(0, 0.5))], 0.5, tmp_path / "out.m4a")
        sound = decoded_sound(tmp_path / "out.m4a")
        assert len(sound) == 2
        assert np.abs(sound).max() == pytest.approx(0.5, abs=0.05)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(3, 16_000), 16_000)
    for name in ("one.m4a", "two.m4a"):
        write_soundtrack([Sound(path, Part(0, 3))], 3, tmp_path / name)
    assert (tmp_path / "one.m4a").read_bytes() == (tmp_path / "two.m4a").read_bytes()
