"""Peak memory of a whole job on the draft engine, against the length of the speech.

Claims: under 400 MB at 10 s, and at most 60 MB more at 10 minutes.
"""

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import av
import numpy as np

from _machine import heading

TALKHEAD = str(Path(sys.executable).with_name("talkhead"))
ASSETS = Path(__file__).parent.parent / "src" / "talkhead" / "assets"
LENGTHS = (10, 60, 600)  # seconds
# /usr/bin/time is not everywhere; a parent that asks for its only child's peak is
CHILD = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
    "capture_output=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def speech_of(seconds: int, folder: Path) -> Path:
    """Write the bundled speech over and over, to the wanted length."""
    with av.open(str(ASSETS / "librivox.flac")) as source:
        frames = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
    samples = np.tile(np.concatenate(frames), 100)[: seconds * 16_000]
    path = folder / f"{seconds}.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.astype("<i2").tobytes())
    return path


def peak_mb(size: str, speech: Path, folder: Path) -> float:
    """Return the peak resident memory of one job's process, in MB (1e6 bytes)."""
    command = [TALKHEAD, "talk", "library:astronaut.png", str(speech), "--size", size]
    command += ["--seed", "1", "-o", str(folder / "out.mp4"), "--force", "--json"]
    run = subprocess.run(
        [sys.executable, "-c", CHILD, *command], check=True, capture_output=True, text=True
    )
    return int(run.stdout) * 1024 / 1e6


def main() -> None:
    heading("Draft engine: peak memory of a whole job, in MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in ("512x512", "1280x720"):
            peaks = {s: peak_mb(size, speech_of(s, folder), folder) for s in LENGTHS}
            shown = "   ".join(f"{seconds} s: {peak:.0f}" for seconds, peak in peaks.items())
            growth = peaks[LENGTHS[-1]] - peaks[LENGTHS[0]]
            print(f"{size:<10} {shown}   growth {growth:+.0f}")


if __name__ == "__main__":
    main()
