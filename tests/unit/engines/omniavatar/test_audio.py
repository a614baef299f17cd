from pathlib import Path

import numpy as np
import pytest
import torch

from talkhead.engines.omniavatar import audio
from talkhead.engines.omniavatar.windows import padded_frames, plan_windows


def numbered(frames: int) -> np.ndarray:
    """Return features (frames, 3) that all hold their frame's number, counted from 1."""
    return np.repeat(np.arange(1, frames + 1, dtype=np.float32)[:, None], 3, 1)


def test_speech_is_padded_with_silence_or_cut() -> None:
    samples = np.arange(1, 1501, dtype=np.float32)
    made = audio.padded(samples, 3)
    assert (len(made), made.dtype) == (3 * 640, np.float32)
    assert np.array_equal(made[:1500], samples)
    assert not made[1500:].any()
    assert np.array_equal(audio.padded(samples, 2), samples[:1280])


@pytest.mark.parametrize(("size", "overlap"), [(105, 13), (33, 29), (13, 5), (9, 1), (5, 1)])
def test_chunks_hear_what_they_hear_officially(size: int, overlap: int) -> None:
    for frames in (1, size - 2, size - 1, size, 2 * size, 3 * size + 2):
        windows = plan_windows(frames, size, overlap)
        features = numbered(padded_frames(windows))
        before = torch.zeros(1, 3)
        at = 0
        for window in windows:
            fresh = torch.from_numpy(features[at : at + size - len(before)])
            wanted = torch.cat([before, fresh])
            assert torch.equal(audio.audio_window(features, window), wanted)
            at += len(fresh)
            before = wanted[-overlap:]


def test_any_chunk_is_heard_alone() -> None:
    windows = plan_windows(100, 13, 5)
    features = numbered(padded_frames(windows))
    assert audio.audio_window(features, windows[0])[:, 0].tolist() == list(range(13))
    # frame 55 hears features[55], which holds 56
    assert audio.audio_window(features, windows[7])[:, 0].tolist() == list(range(56, 69))


def test_only_what_is_heard_is_read(tmp_path: Path) -> None:
    windows = plan_windows(100, 13, 5)
    features = numbered(padded_frames(windows))
    np.save(tmp_path / "f.npy", features)
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    made = audio.audio_window(mapped, windows[2])
    assert torch.equal(made, audio.audio_window(features, windows[2]))
    poisoned = features.copy()
    poisoned[: windows[2].start] = np.nan
    poisoned[windows[2].start + 13 :] = np.nan
    assert torch.equal(audio.audio_window(poisoned, windows[2]), made)
    made += 1  # what is returned is its own
    assert np.array_equal(mapped, features)


def test_features_that_are_not_padded_are_refused() -> None:
    windows = plan_windows(20, 13, 5)
    with pytest.raises(ValueError, match="frame 20 hears 19"):
        audio.audio_window(numbered(19), windows[-1])
