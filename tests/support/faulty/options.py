"""The options of the faulty engine."""

from typing import Literal

from pydantic import BaseModel

How = Literal[
    "well", "sleep", "hang", "gil", "segfault", "abort", "exit", "killed", "memory", "noise",
    "odd", "eat", "chatty",
]  # fmt: skip


class Options(BaseModel):
    """What goes wrong, before which frame, after what, and whether only the first time."""

    how: How = "well"
    at: int = 0
    after: str = ""  # a job's manifest: not before it tells of a committed segment
    once: str = ""  # path of a file that marks the first time
