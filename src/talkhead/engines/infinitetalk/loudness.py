"""Speech brought to one loudness, measured as ITU-R BS.1770-4 says."""

import math

import numpy as np
import pyloudnorm  # type: ignore[import-untyped]
from numpy.typing import NDArray

Samples = NDArray[np.float32]  # (n,), mono

TARGET = -23.0  # LUFS
AUDIBLE = 100.0  # LUFS below full scale; less is silence and stays as it is


def match_loudness(samples: Samples, rate: int, target: float = TARGET) -> Samples:
    """Return speech (n,) of `rate` Hz at `target` LUFS; silence stays silent. Peaks may pass 1.

    InfiniteTalk, MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9.
    """
    measured = loudness(samples, rate)
    if not abs(measured) <= AUDIBLE:
        return samples
    return np.asarray(samples * 10.0 ** ((target - measured) / 20), np.float32)


def loudness(samples: Samples, rate: int) -> float:
    """Return the integrated loudness of speech (n,), LUFS; minus infinity for silence.

    Speech shorter than the measure's block of 0.4 s, which the official code refuses, is measured
    as if it were said again and again until it fills one.
    """
    meter = pyloudnorm.Meter(rate)
    block = math.ceil(meter.block_size * rate)
    heard = samples if len(samples) >= block else np.resize(samples, block)
    return float(meter.integrated_loudness(np.asarray(heard, np.float32)))
