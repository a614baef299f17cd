"""InfiniteTalk at a tiny size, with files of its own in the folder TINYTALK: for the job path."""

import os
from dataclasses import replace
from pathlib import Path

from support import installation
from talkhead.engines.infinitetalk import InfiniteTalk, Supplies


class TinyTalk(InfiniteTalk):
    """Works at 64 x 64 at most, on the CPU; every process writes the same files again."""

    spec = replace(InfiniteTalk.spec, name="tinytalk", min_side=32, max_pixels=64 * 64)

    def __init__(self) -> None:
        folder = Path(os.environ["TINYTALK"])
        folder.mkdir(exist_ok=True)
        files = installation.finder(installation.write(folder))
        super().__init__(Supplies(files, folder / "prompts", device="cpu"))
