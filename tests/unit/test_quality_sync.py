from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkhead.engines import Phone
from talkhead.quality.report import grade
from talkhead.quality.sync import STATIC_RANGE, align, rank_share, score_sync

TARGETS = {"AA": 1.0, "IH": 0.5, "S": 0.2, "D": 0.3, "P": 0.0, "M": 0.0, "SIL": 0.0}
FINE = 0.002  # seconds


def _speech(seed: int, count: int = 90) -> tuple[Phone, ...]:
    """Random phones without a rhythm: no two bilabials in a row, a pause now and then."""
    random = np.random.default_rng(seed)
    names, chances = list(TARGETS), [0.2, 0.15, 0.2, 0.15, 0.13, 0.13, 0.04]
    phones, now = [], 0.3
    while len(phones) < count:
        name = str(random.choice(names, p=chances))
        if phones and {name, phones[-1].name} <= {"P", "M", "SIL"}:
            continue
        length = random.uniform(0.06, 0.2) + 0.2 * (name == "SIL")
        phones.append(Phone(name, now, now + length))
        now += length
    return tuple(phones)


def _mouth(phones: tuple[Phone, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return fine times and the opening of a mouth that says the phones, 0 to 1."""
    times = np.arange(0, phones[-1].end + 0.5, FINE)
    opening = np.zeros(times.size)
    for phone in phones:
        opening[(times >= phone.start) & (times < phone.end)] = TARGETS[phone.name]
    kernel = np.hanning(round(0.06 / FINE))
    return times, np.convolve(opening, kernel / kernel.sum(), "same")


def _frames(phones: tuple[Phone, ...], fps: float, late: float = 0.0) -> tuple[np.ndarray, ...]:
    """Return frame centres, the expected opening there, and the opening of a mouth `late` by s."""
    fine, opening = _mouth(phones)
    times = (np.arange(int(fine[-1] * fps)) + 0.5) / fps
    return times, np.interp(times, fine, opening), np.interp(times - late, fine, opening)


def _score(seed: int, fps: float = 25, late: float = 0.0, scale: float = 0.25):
    phones = _speech(seed)
    times, expected, measured = _frames(phones, fps, late)
    return score_sync(times, scale * measured, expected, phones)


@pytest.mark.parametrize("fps", [12.5, 24000 / 1001, 25, 60])
def test_a_mouth_that_says_its_phones_scores_full_marks(fps):
    score = _score(1, fps)
    assert score.r0 == pytest.approx(1, abs=0.001)
    assert abs(score.lag_ms) < 1
    assert score.auc > 0.99
    assert score.dip > 0.9
    assert score.closed > 0.9
    assert score.closed_chance < 0.7
    assert score.open_hits > 0.95
    assert score.bilabials > 9
    assert grade(score) == "good"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    fps=st.sampled_from([24, 25, 30, 50]),
    late=st.floats(-0.3, 0.3),
)
def test_lag_is_found_between_frames_and_late_is_positive(seed, fps, late):
    score = _score(seed, fps, late)
    assert score.lag_ms == pytest.approx(1000 * late, abs=8)
    assert score.r_best > 0.95


@pytest.mark.parametrize("late", [0.2, -0.2])
def test_a_mouth_200_ms_off_is_poor_and_its_auc_blind(late):
    scores = [_score(seed, late=late) for seed in range(10)]
    assert np.mean([score.auc for score in scores]) < 0.6
    assert max(score.r0 for score in scores) < 0.6
    assert {grade(score) for score in scores} == {"poor"}


def test_lag_alone_spoils_the_grade():
    score = _score(3)
    assert grade(replace(score, lag_ms=59.0)) == "good"
    assert grade(replace(score, lag_ms=-61.0)) == "fair"
    assert grade(replace(score, lag_ms=-121.0)) == "poor"
    assert grade(replace(score, dip=0.6)) == "fair"
    assert grade(replace(score, auc=None)) is None


def test_the_phones_of_another_utterance_are_poor():
    grades, areas = [], []
    for seed in range(20):
        times, _, measured = _frames(_speech(seed), 25)
        other = _speech(seed + 100)
        expected = np.interp(times, *_mouth(other))
        score = score_sync(times, 0.2 * measured, expected, other)
        grades.append(grade(score))
        areas.append(score.auc)
    assert "good" not in grades
    assert grades.count("poor") >= 18
    assert np.mean(areas) == pytest.approx(0.5, abs=0.1)


def test_closed_lips_by_chance_are_what_other_phones_reach():
    times, _, measured = _frames(_speech(1), 25)
    chance = _score(1).closed_chance
    reached = [
        score_sync(times, measured, np.interp(times, *_mouth(other)), other).closed
        for other in (_speech(seed) for seed in range(200, 230))
    ]
    assert chance == pytest.approx(np.mean(reached), abs=0.08)
    assert chance == _score(1).closed_chance


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.08, 2), rest=st.floats(0, 0.3))
def test_the_size_and_the_rest_of_a_mouth_do_not_matter(scale, rest):
    phones = _speech(5)
    times, expected, measured = _frames(phones, 25)
    plain = score_sync(times, 0.25 * measured, expected, phones)
    other = score_sync(times, rest + scale * measured, 7 * expected + 1, phones)
    for name in ("r0", "r_best", "lag_ms", "auc", "dip", "closed", "closed_chance", "open_hits"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), abs=1e-3)
    assert other.range == pytest.approx(scale * plain.range / 0.25)
    assert other.rest == pytest.approx(rest + scale * plain.rest / 0.25)


def test_a_mouth_that_does_not_move_has_no_score():
    phones = _speech(1)
    times, expected, measured = _frames(phones, 25)
    score = score_sync(times, 0.1 + 0.8 * STATIC_RANGE * measured, expected, phones)
    assert score.range < STATIC_RANGE
    assert (score.r0, score.lag_ms, score.auc, score.dip) == (None, None, None, None)
    assert score.speech_s > 5


def test_frames_without_a_face_are_left_out():
    phones = _speech(2)
    times, expected, measured = _frames(phones, 25, late=0.08)
    lost = np.random.default_rng(0).random(times.size) < 0.15
    lost[60:90] = True
    score = score_sync(times, np.where(lost, np.nan, measured), expected, phones)
    whole = score_sync(times, measured, expected, phones)
    assert score.lag_ms == pytest.approx(80, abs=10)
    assert score.r_best > 0.95
    assert 0 < score.bilabials < whole.bilabials
    assert np.isfinite([score.auc, score.dip, score.closed, score.open_hits]).all()


def test_too_few_bilabials_or_too_little_speech_leave_only_the_curve():
    phones = _speech(4)
    times, expected, measured = _frames(phones, 25)
    rare = [phone for phone in phones if phone.name not in {"P", "M"}]
    rare += [phone for phone in phones if phone.name in {"P", "M"}][:2]
    score = score_sync(times, measured, expected, rare)
    assert score.bilabials == 2
    assert (score.auc, score.dip, score.closed, score.open_hits) == (None,) * 4
    assert score.r0 == pytest.approx(1, abs=0.01)
    short = score_sync(times, measured, expected, [p for p in phones if p.start < 1.8])
    assert short.speech_s < 2
    assert short.auc is None


def test_phones_beyond_the_measured_part_do_not_count():
    phones = _speech(6)
    times, expected, measured = _frames(phones, 25)
    half = times < times[-1] / 2
    score = score_sync(times[half], measured[half], expected[half], phones)
    assert score.speech_s < 0.6 * sum(p.end - p.start for p in phones if p.name != "SIL")
    assert score.bilabials < sum(p.name in {"P", "M"} for p in phones)
    assert score.closed > 0.9


@pytest.mark.parametrize("frames", [0, 1, 2, 20])
def test_a_handful_of_frames_is_no_crash(frames):
    times = (np.arange(frames) + 0.5) / 25
    score = score_sync(times, np.linspace(0, 1, frames), np.linspace(0, 1, frames), _speech(1))
    assert score.auc is None
    assert score.r0 is None


def test_align_needs_two_curves_that_move():
    times = np.arange(100) / 25
    wave = np.sin(times * 9)
    assert align(times, wave, np.ones(100)) is None
    assert align(times, np.ones(100), wave) is None
    assert align(times, wave, np.full(100, np.nan)) is None
    found = align(times, wave, -wave)
    assert found is not None
    assert found.r0 == pytest.approx(-1, abs=1e-6)


_VALUES = st.lists(st.integers(0, 9), min_size=1, max_size=20)


@given(larger=_VALUES, smaller=_VALUES)
def test_rank_share_is_the_share_of_pairs(larger, smaller):
    pairs = [(a > b) + 0.5 * (a == b) for a in larger for b in smaller]
    share = rank_share(np.array(larger, float), np.array(smaller, float))
    assert share == pytest.approx(np.mean(pairs))
