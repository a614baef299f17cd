"""Memory of `talkhead weights convert` against the size of the file, without mapped files.

Claim: at most 100 MB more than before, whatever the file's size.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from _machine import heading
from talkhead import weights
from talkhead.weights.convert import Wanted, convert
from talkhead.weights.locate import Places
from talkhead.weights.stopping import Until

MANIFEST = """
[repos."org/model"]
[files.file]
repo = "org/model"
path = "file.pth"
[sets.set]
about = ""
files = ["file"]
"""
TENSOR = 50_000_000  # numbers of 4 bytes
LIMIT_MB = 100


def held_mb() -> float:
    """Return what this process holds itself; a mapped file's pages are the system's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1e3


def peak_of(
    root: Path, dtype: str, name: str = "file", known: weights.Manifest | None = None
) -> tuple[float, float]:
    """Convert; return MB more than before at the peak, and seconds."""
    before, peak, ended = held_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak[0] = max(peak[0], held_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    known = known or weights.read(MANIFEST)
    convert(Wanted((name,), root, dtype), Places(root), known, Until(600), lambda *_, **__: None, 5)
    seconds = time.monotonic() - began
    ended.set()
    watcher.join()
    return peak[0] - before, seconds


def main() -> None:
    heading("talkhead weights convert: MB more than before at the peak, by the size of a pickle")
    worst = 0.0
    for tensors in (1, 5, 10):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "org/model/file.pth"
            target.parent.mkdir(parents=True)
            torch.save({f"t{index}": torch.zeros(TENSOR) for index in range(tensors)}, target)
            told = [f"{tensors * TENSOR * 4 / 1e9:.1f} GB of fp32"]
            for dtype in ("", "bf16", "fp16"):
                more, seconds = peak_of(Path(folder), dtype)
                worst = max(worst, more)
                told.append(f"{dtype or 'as it is'}: {more:.0f} MB, {seconds:.1f} s")
            print("   ".join(told))
    if worst > LIMIT_MB:
        sys.exit(f"over {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
