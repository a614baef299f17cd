"""Whether a disk holds what is to be written, and how a file gets onto it whole."""

import os
import shutil
from pathlib import Path

from talkhead.errors import Code, TalkheadError

KEEP = 0.1  # of the disk stays free; below, RunPod's own check stops a worker


def require(root: Path, wanted: int) -> None:
    """Raise E_CAPACITY where a tenth of root's disk would not stay free after `wanted` bytes."""
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    disk = shutil.disk_usage(existing)
    keep = round(disk.total * KEEP)
    if wanted > disk.free - keep:
        raise TalkheadError(
            Code.CAPACITY,
            f"{wanted / 1e9:.2f} GB are to come, and {root} has {disk.free / 1e9:.2f} GB free, "
            f"of which {keep / 1e9:.2f} GB (10 % of the disk) must stay so",
            "free some space, or set TALKHEAD_WEIGHTS to a larger disk or a network volume",
        )


def place(partial: Path, target: Path) -> None:
    """Give a complete file its own name, so that it is there whole even after a power cut."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
