"""Runs the real command line, and makes the media that it is fed."""

import hashlib
import json
import os
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

TALKHEAD = Path(sys.executable).with_name("talkhead")
MEDIA = Path(__file__).parent.parent / "media"
SPEECH = MEDIA / "speech"
PORTRAITS = MEDIA / "portraits"


@dataclass(frozen=True)
class Ended:
    """A finished run of the command line."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.env = {**os.environ, "TALKHEAD_JOBS": str(self.jobs), "COLUMNS": "120"}

    def __call__(self, *words: object, **env: str) -> Ended:
        run = subprocess.run(
            [str(TALKHEAD), *map(str, words)],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Ended(run.returncode, run.stdout, run.stderr)

    def start(self, *words: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(TALKHEAD), *map(str, words)],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def left(self) -> list[str]:
        """Return what lies in the folder beside the job folders, hidden files included."""
        return sorted(path.name for path in self.folder.iterdir() if path != self.jobs)


def frames_digest(video: Path) -> tuple[int, str]:
    """Return the number of decoded frames and a digest of all their pixels."""
    total, seen = 0, hashlib.sha256()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            seen.update(frame.to_ndarray().tobytes())
            total += 1
    return total, seen.hexdigest()


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1) -> Path:
    """Write floats in -1..1 as 16-bit PCM."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def read_sound(path: Path) -> np.ndarray:
    """Return a recording of 16-bit samples, mono, as floats in -1..1."""
    with av.open(str(path)) as source:
        frames = [frame.to_ndarray()[0] for frame in source.decode(audio=0)]
    return np.concatenate(frames) / 32768.0
