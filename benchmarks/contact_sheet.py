"""Frames of a video side by side, to look at: contact_sheet.py VIDEO OUT [FIRST [STEP [COUNT]]].

`docs/images/demo.jpg` is `contact_sheet.py demo.mp4 docs/images/demo.jpg 60 3 12`.
"""

import sys
from pathlib import Path

import av
from PIL import Image

COLUMNS = 6
WIDTH = 240


def sheet(video: Path, first: int, step: int, count: int) -> Image.Image:
    """Return `count` frames from `first` on, each `step` after the one before."""
    wanted = range(first, first + step * count, step)
    with av.open(str(video)) as container:
        frames = [
            frame.to_image() for i, frame in enumerate(container.decode(video=0)) if i in wanted
        ]
    height = round(WIDTH * frames[0].height / frames[0].width)
    rows = -(-len(frames) // COLUMNS)
    out = Image.new("RGB", (WIDTH * min(COLUMNS, len(frames)), height * rows))
    for index, frame in enumerate(frames):
        small = frame.resize((WIDTH, height), Image.Resampling.LANCZOS)
        out.paste(small, (index % COLUMNS * WIDTH, index // COLUMNS * height))
    return out


def main() -> None:
    video, out = Path(sys.argv[1]), Path(sys.argv[2])
    first, step, count = (*map(int, sys.argv[3:]), *(0, 5, 24)[len(sys.argv) - 3 :])
    sheet(video, first, step, count).save(out, quality=88)


if __name__ == "__main__":
    main()
