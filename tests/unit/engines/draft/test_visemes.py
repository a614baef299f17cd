import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from talkhead.engines import Phone
from talkhead.engines.draft.align import LOOP_WORDS
from talkhead.engines.draft.motion import frame_times
from talkhead.engines.draft.phones import PhoneTrack
from talkhead.engines.draft.pose import Mouth
from talkhead.engines.draft.visemes import (
    BILABIALS,
    OPEN_VOWELS,
    TARGETS,
    Track,
    expected_aperture,
    mouth_tracks,
)
from talkhead.voices.espeak_phones import ANYWHERE, OWN

SPEECH = Path(__file__).parents[3] / "media" / "speech"
FPS = Fraction(25)
RATES = [Fraction(12), Fraction(25), Fraction(30000, 1001), Fraction(60)]


def even_loudness(frames: int) -> Track:
    return np.full(frames, 0.1, np.float32)


def tracks(
    phones: list[Phone], frames: int = 50, fps: Fraction = FPS, energy: float = 0.0
) -> dict[str, Track]:
    track = PhoneTrack(tuple(phones), "given", (), energy)
    return mouth_tracks(track, even_loudness(frames), frames, fps)


def said(*names: str, each: float = 0.2) -> list[Phone]:
    return [Phone(name, i * each, (i + 1) * each) for i, name in enumerate(names)]


def test_every_phone_of_every_source_has_a_target() -> None:
    mapped = {*ANYWHERE.values(), *(name for own in OWN.values() for name in own.values())}
    spoken = {name for names in mapped for name in names.split()} | set(LOOP_WORDS.values())
    assert spoken - {"SIL"} <= set(TARGETS)
    assert set(TARGETS) >= BILABIALS | OPEN_VOWELS
    for shape in (shape for shapes in TARGETS.values() for shape in shapes):
        assert 0 <= shape.aperture <= 0.35
        assert -1 <= shape.spread <= 1


def test_tracks_have_the_fields_of_a_mouth_and_their_ranges() -> None:
    names = list(TARGETS)
    result = tracks(said(*names), frames=200)
    assert tuple(result) == Mouth._fields
    for name, low in (("aperture", 0), ("press", 0), ("bite", 0), ("tongue", 0), ("spread", -1)):
        assert result[name].shape == (200,)
        assert result[name].dtype == np.float32
        assert result[name].min() >= low
        assert result[name].max() <= 1


@pytest.mark.parametrize("fps", RATES)
def test_a_bilabial_closes_the_frame_at_its_middle(fps: Fraction) -> None:
    frames = int(fps * 2)
    for start in np.linspace(0.5, 0.6, 7).tolist():
        phones = [Phone("AA", 0, start), Phone("P", start, start + 0.04)]
        result = tracks([*phones, Phone("AA", start + 0.04, 2)], frames, fps)
        middle = int((start + 0.02) * fps)
        assert result["aperture"][middle] == 0
        assert result["press"][middle] == 1
        assert result["aperture"].max() > 0.3


def test_the_mouth_follows_without_lag() -> None:
    phones = said("S", "AA", "S", each=0.3)
    result = tracks(phones, 90, Fraction(100))["aperture"]
    times = frame_times(90, Fraction(100))
    centre = float((times * result**4).sum() / (result**4).sum())
    assert centre == pytest.approx(0.45, abs=0.01)


def test_shapes_reach_what_they_aim_at() -> None:
    steady = {name: tracks([Phone(name, 0, 2)]) for name in ("AA", "IY", "UW", "F", "L")}
    middle = {
        name: Mouth(*(track[25] for track in found.values())) for name, found in steady.items()
    }
    assert middle["AA"].aperture > 0.3
    assert middle["IY"].spread == pytest.approx(0.65, abs=0.01)
    assert middle["UW"].spread == pytest.approx(-0.85, abs=0.01)
    assert middle["F"].bite == pytest.approx(1, abs=0.01)
    assert middle["L"].tongue == pytest.approx(1, abs=0.01)


def test_a_diphthong_glides() -> None:
    spread = tracks([Phone("AW", 0.5, 1.5)])["spread"]
    assert spread[18] > 0
    assert spread[32] < -0.5


def test_quiet_speech_opens_less_and_silence_not_at_all() -> None:
    phones = PhoneTrack((Phone("AA", 0, 3),), "given", ())
    loudness = np.repeat(np.float32([0.1, 0.02, 1e-6]), 25)
    aperture = mouth_tracks(phones, loudness, 75, FPS)["aperture"]
    assert aperture[12] > 1.3 * aperture[37] > 0.1
    assert aperture[60] == 0


def test_silence_stays_closed_even_where_loudness_leads() -> None:
    phones = [Phone("AA", 0, 0.5), Phone("SIL", 0.5, 1.5), Phone("AA", 1.5, 2)]
    for energy in (0.0, 0.5, 1.0):
        aperture = tracks(phones, energy=energy)["aperture"]
        assert aperture[20:30].max() < 0.005
        assert aperture[3:9].min() > 0.15


def test_nothing_said_is_closed() -> None:
    for phones in ([], [Phone("SIL", 0, 2)], [Phone("+NSN+", 0, 2)]):
        result = tracks(phones)
        assert all(np.all(track == 0) for track in result.values())


def test_no_frames_and_no_sound_work() -> None:
    assert all(track.shape == (0,) for track in tracks(said("AA"), frames=0).values())
    silent = np.zeros(10, np.float32)
    track = PhoneTrack(tuple(said("AA", "P")), "given", ())
    assert np.all(mouth_tracks(track, silent, 10, FPS)["aperture"] == 0)


def test_gaps_between_phones_are_silence() -> None:
    with_gap = tracks([Phone("AA", 0, 0.4), Phone("AA", 1.2, 1.6)])
    spelled = tracks([Phone("AA", 0, 0.4), Phone("SIL", 0.4, 1.2), Phone("AA", 1.2, 1.6)])
    split = [Phone("SIL", start / 10, start / 10 + 0.1) for start in range(4, 12)]
    pieces = tracks([Phone("AA", 0, 0.4), *split, Phone("AA", 1.2, 1.6)])
    for name in Mouth._fields:
        np.testing.assert_array_equal(with_gap[name], spelled[name])
        np.testing.assert_array_equal(with_gap[name], pieces[name])


def test_a_frame_does_not_depend_on_what_comes_much_later() -> None:
    start = said("M", "AA", "S", "UW", "SIL")
    short = tracks(start, frames=25)
    long = tracks([*start, *(Phone("IY", 3 + i, 4 + i) for i in range(20))], frames=600)
    for name in Mouth._fields:
        np.testing.assert_allclose(short[name], long[name][:25], atol=1e-6)


def test_neighbouring_frames_do_not_jump() -> None:
    entries = json.loads((SPEECH / "librivox_0920.phones.json").read_text())
    phones = [Phone(*entry) for entry in entries]
    frames = 6 * 60
    result = tracks(phones, frames, Fraction(60))
    for name in ("aperture", "spread"):
        assert np.abs(np.diff(result[name])).max() < (0.12 if name == "aperture" else 0.25)


def test_the_expected_opening_tells_open_vowels_from_closed_lips() -> None:
    entries = json.loads((SPEECH / "espeak_en-us.phones.json").read_text())
    phones = [Phone(*entry) for entry in entries]
    frames = int(phones[-1].end * FPS)
    expected = expected_aperture(phones, even_loudness(frames), frames, FPS)
    times = frame_times(frames, FPS)

    def at(names: frozenset[str]) -> list[float]:
        spots = [
            (p.start + p.end) / 2 for p in phones if p.name in names and p.end - p.start > 0.05
        ]
        return [float(expected[np.abs(times - spot).argmin()]) for spot in spots]

    assert max(at(BILABIALS)) == 0
    assert np.mean(np.array(at(OPEN_VOWELS)) > 0.12) > 0.9
    assert all(first.end <= second.start + 1e-9 for first, second in pairwise(phones))
