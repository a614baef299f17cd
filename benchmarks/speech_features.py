"""Memory and time of wav2vec2's features at full size, against the length of the speech.

Claim: at any length the whole track is attended to at once, and memory grows in proportion to the
length: about 2 MB a second of speech, of which 0.9 MB are the mapped result. Random weights, CPU.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from _machine import heading
from talkhead.models import wav2vec2

LENGTHS = (10, 60, 180, 600)  # seconds
RATE, FPS = 16_000, 25


def peak_mb() -> float:
    """Return the peak resident memory of this process so far, in MB (1e6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(seconds: int) -> None:
    """Encode noise of that length, and print what it took over the loaded model."""
    config = Wav2Vec2Config()
    model = wav2vec2.build(config.to_dict(), Wav2Vec2Model(config).state_dict())
    samples = np.random.default_rng(0).standard_normal(seconds * RATE).astype(np.float32)
    shape = (seconds * FPS, config.num_hidden_layers, config.hidden_size)
    with tempfile.TemporaryDirectory() as folder:
        out = np.lib.format.open_memmap(Path(folder) / "features.npy", "w+", np.float32, shape)
        before, start = peak_mb(), time.perf_counter()
        wav2vec2.features(model, samples, len(out), out)
        took = time.perf_counter() - start
    print(
        f"{seconds:>4} s of speech   {peak_mb() - before:6.0f} MB over the loaded model, "
        f"of which {out.nbytes / 1e6:.0f} MB mapped   {took:.0f} s"
    )


def main() -> None:
    heading("wav2vec2-base: features of all layers, in memory-mapped arrays")
    for seconds in LENGTHS:
        subprocess.run([sys.executable, __file__, str(seconds)], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        torch.set_num_threads(2)
        measure(int(sys.argv[1]))
    else:
        main()
