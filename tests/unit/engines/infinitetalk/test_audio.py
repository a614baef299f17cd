from pathlib import Path

import numpy as np
import pytest
import torch

from talkhead.engines.infinitetalk import audio
from talkhead.engines.infinitetalk.windows import plan_windows


def numbered(frames: int, speaker: int = 0) -> np.ndarray:
    """Return features (frames, 2, 3) that all hold their frame's number."""
    rows = np.arange(frames, dtype=np.float32) + 1000 * speaker
    return np.broadcast_to(rows[:, None, None], (frames, 2, 3)).copy()


def test_a_frame_hears_its_neighbours() -> None:
    made = audio.audio_windows([numbered(40), numbered(40, 1)], 8, 17)
    assert made.shape == (2, 17, 5, 2, 3)
    assert made.dtype == torch.float32
    wanted = np.arange(8, 25)[:, None] + np.arange(-2, 3)
    assert np.array_equal(made[0, ..., 0, 0].numpy(), wanted)
    assert np.array_equal(made[1, ..., 1, 2].numpy(), wanted + 1000)


def test_before_the_beginning_the_first_frame_is_heard() -> None:
    made = audio.audio_windows([numbered(40)], 0, 3)[0, ..., 0, 0]
    assert made.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("frames", [26, 60, 81, 82, 100])
def test_past_the_end_speech_is_mirrored_as_officially(frames: int) -> None:
    features = numbered(frames)
    for window in plan_windows(frames, 17, 5):
        end = window.start + window.size
        padded = features
        if end >= frames:
            padded = np.concatenate([features, features[-(end - frames + 3) :][::-1]])
        index = np.arange(window.start, end)[:, None] + np.arange(-2, 3)
        wanted = padded[np.clip(index, 0, len(padded) - 1)]
        made = audio.audio_windows([features], window.start, window.size)
        assert np.array_equal(made[0].numpy(), wanted)


def test_speech_much_shorter_than_a_window_goes_back_and_forth() -> None:
    made = audio.audio_windows([numbered(3)], 0, 81)[0, :, 2, 0, 0]
    assert made[:9].tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert audio.audio_windows([numbered(1)], 0, 81).eq(0).all()


def test_windows_are_read_from_a_memory_map(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", numbered(500))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    made = audio.audio_windows([mapped], 432, 81)
    assert torch.equal(made, audio.audio_windows([numbered(500)], 432, 81))
