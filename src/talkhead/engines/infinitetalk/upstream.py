"""Where talkhead deliberately does something else than the official code, one switch for each.

All off is the product. All on is what the reference numbers were made with, and what reproduces a
video of the official code from the same seed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upstream:
    """What is done the official way (InfiniteTalk, official code commit 0107cd9)."""

    one_generator: bool = False  # all windows draw from one generator; ours have a seed each
    boxes_as_rows: bool = False  # a box's numbers are row0, col0, row1, col1; ours are x and y
    source_by_index: bool = False  # a source video is read as if it had 25 fps; ours goes by time


OFFICIAL = Upstream(one_generator=True, boxes_as_rows=True, source_by_index=True)
