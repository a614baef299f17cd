from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from talkhead.engines.draft.align import SAMPLE_RATE
from talkhead.engines.draft.motion import (
    LOUDNESS_BLOCK,
    blink_track,
    frame_times,
    head_tracks,
    loudness,
)
from talkhead.engines.draft.pose import Head

FPS = Fraction(25)
SEEDS = [0, 1, 12345, 2**63 - 1]


def even(frames: int) -> np.ndarray:
    return np.full(frames, 0.1, np.float32)


def test_loudness_is_the_rms_around_each_frame() -> None:
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    speech = (0.2 * np.sin(2 * np.pi * 200 * times) * (times >= 1)).astype(np.float32)
    levels = loudness(speech, 60, FPS)
    assert levels.dtype == np.float32
    np.testing.assert_allclose(levels[26:49], 0.2 / np.sqrt(2), rtol=1e-3)
    assert np.all(levels[:24] == 0)
    assert np.all(levels[51:] == 0)  # past the end of the speech


@pytest.mark.parametrize("fps", [Fraction(1), Fraction(30000, 1001), Fraction(60)])
def test_loudness_in_blocks_is_loudness_at_once(fps: Fraction, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.1, 25 * SAMPLE_RATE).astype(np.float32)
    np.save(tmp_path / "speech.npy", speech)
    frames = int(25 * fps)
    levels = loudness(np.load(tmp_path / "speech.npy", mmap_mode="r"), frames, fps)
    assert frames > LOUDNESS_BLOCK or fps < 30
    for index in {0, frames // 2, frames - 1}:
        middle = int(frame_times(frames, fps)[index] * SAMPLE_RATE)
        part = speech[max(middle - 320, 0) : middle + 320].astype(np.float64)
        assert levels[index] == pytest.approx(np.sqrt((part**2).sum() / 640), rel=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_loudness_of_hardly_any_speech(samples: int) -> None:
    levels = loudness(np.ones(samples, np.float32), 5, FPS)
    assert np.isfinite(levels).all()
    assert np.all(levels[1:] == 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_blinks_close_the_eyes_10_to_25_times_a_minute(seed: int) -> None:
    lids = blink_track(25 * 600, FPS, seed)
    assert lids.min() == 0
    assert lids.max() == 1
    closings = np.flatnonzero((lids[1:] > 0.9) & (lids[:-1] <= 0.9))
    assert 100 <= closings.size <= 250
    assert np.diff(closings).min() >= 2 * 25
    assert np.all(lids[:20] == 0)
    assert (lids == 0).mean() > 0.85


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), Fraction(60)])
def test_every_blink_is_seen_closed(fps: Fraction) -> None:
    lids = blink_track(int(60 * fps), fps, 3)
    edges = np.flatnonzero(np.diff((lids > 0).astype(int)) > 0)
    reach = int(fps / 4)
    assert all(lids[edge : edge + reach].max() > 0.95 for edge in edges)


def test_motion_is_a_function_of_seed_and_time_alone() -> None:
    for seed in SEEDS:
        short, long = (head_tracks(even(n), n, FPS, seed) for n in (50, 5000))
        for name in Head._fields:
            np.testing.assert_array_equal(short[name], long[name][:50])
        np.testing.assert_array_equal(blink_track(50, FPS, seed), blink_track(9000, FPS, seed)[:50])


def test_motion_is_the_same_at_every_frame_rate() -> None:
    slow, fast = head_tracks(even(50), 50, FPS, 9), head_tracks(even(150), 150, 3 * FPS, 9)
    for name in Head._fields:
        np.testing.assert_allclose(slow[name], fast[name][1::3], atol=1e-6)
    np.testing.assert_allclose(
        blink_track(500, FPS, 9), blink_track(1500, 3 * FPS, 9)[1::3], atol=1e-6
    )


def test_seeds_differ() -> None:
    tracks = [head_tracks(even(9000), 9000, FPS, seed) for seed in (*SEEDS, 2, 3)]
    for name in Head._fields:
        values = np.array([track[name] for track in tracks])
        likeness = np.abs(np.corrcoef(values) - np.eye(len(values)))
        assert likeness.max() < 0.4
    fields = np.array([tracks[0][name] for name in ("roll", "x", "yaw")])
    assert np.abs(np.corrcoef(fields) - np.eye(3)).max() < 0.4


def test_the_head_starts_still_and_moves_smoothly_a_little() -> None:
    limits = Head(roll=0.026, x=0.016, y=0.02, scale=0.013, yaw=0.046, pitch=0.036)
    for seed in SEEDS:
        rng = np.random.default_rng(1)
        levels = np.repeat(rng.uniform(0, 0.2, 300), 5).astype(np.float32)
        tracks = head_tracks(levels, 1500, FPS, seed)
        assert tuple(tracks) == Head._fields
        for name, limit in zip(Head._fields, limits, strict=True):
            track = tracks[name]
            assert track.dtype == np.float32
            assert abs(track[0]) < 0.002 * limit / 0.01
            assert limit / 8 < np.abs(track).max() < limit
            assert np.abs(np.diff(track)).max() < limit / 8
            assert np.abs(np.diff(track, 2)).max() < limit / 20


def test_the_head_nods_with_loudness() -> None:
    levels = np.full(250, 0.001, np.float32)
    levels[100:150] = 0.1
    still, nodding = (head_tracks(x, 250, FPS, 4) for x in (np.full_like(levels, 1e-3), levels))
    change = {name: nodding[name] - still[name] for name in Head._fields}
    assert change["pitch"][125] == pytest.approx(change["pitch"].min(), abs=1e-3)
    assert np.all(change["yaw"] == 0)
    assert np.ptp(change["y"]) > 0.005


def test_silence_and_no_frames_work() -> None:
    for frames in (0, 1, 3):
        for levels in (np.zeros(frames, np.float32), even(frames)):
            tracks = head_tracks(levels, frames, FPS, 1)
            assert all(track.shape == (frames,) for track in tracks.values())
            assert all(np.isfinite(track).all() for track in tracks.values())
        assert blink_track(frames, FPS, 1).shape == (frames,)
