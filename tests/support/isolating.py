"""Isolators for tests: one that halves what it hears, and one that forgets to write."""

import wave
from pathlib import Path

import numpy as np

from talkhead.engines import Tick

CALLS: list[tuple[int, int, str]] = []  # rate, channels and name of each sound that was given


class Halver:
    """Implements Isolator: the voice is half of everything."""

    def isolate(self, sound: Path, out: Path, tick: Tick) -> None:
        with wave.open(str(sound)) as source:
            CALLS.append((source.getframerate(), source.getnchannels(), sound.name))
            samples = np.frombuffer(source.readframes(source.getnframes()), "<i2") // 2
            with wave.open(str(out), "wb") as target:
                target.setparams(source.getparams())
                target.writeframes(samples.tobytes())
        tick(1, 1)


class Forgetful:
    """Implements Isolator, badly."""

    def isolate(self, sound: Path, out: Path, tick: Tick) -> None:
        tick(1, 1)
