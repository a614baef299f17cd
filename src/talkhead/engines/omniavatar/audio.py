"""What the network hears: speech as long as its chunks, and the features of each chunk's frames.

OmniAvatar (arXiv 2506.18866; official code commit 1536bf3).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talkhead.engines.omniavatar.windows import FPS
from talkhead.models.wav2vec2 import RATE, Samples
from talkhead.models.windows import Window

Features = NDArray[np.float32]  # (frames, channels); may be a memory map

SAMPLES_PER_FRAME = RATE // FPS


def padded(samples: Samples, frames: int) -> Samples:
    """Return normalised speech of exactly so many frames: silence follows it, what is over is cut.

    The silence is encoded with the speech, as officially, so that all frames have features.
    """
    whole = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    kept = samples[: len(whole)]
    whole[: len(kept)] = kept
    return whole


def audio_window(features: Features, window: Window) -> Tensor:
    """Return f32 (size, channels): what a chunk hears, zeros for what is before the speech.

    Only these rows are read. A chunk's frames hear the same whether it made them or the one before,
    so that nothing has to be carried from chunk to chunk. Raises ValueError where the features end
    before the chunk: they are to be those of `padded` speech.
    """
    stop = window.start + window.size
    if stop > len(features):
        raise ValueError(f"a chunk up to frame {stop} hears {len(features)} frames of speech")
    before = max(0, -window.start)
    heard = torch.zeros(window.size, features.shape[1])
    heard[before:] = torch.from_numpy(np.array(features[window.start + before : stop], np.float32))
    return heard
