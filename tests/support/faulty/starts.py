"""Stand-ins for what a child runs: those that never become ready, and one without its safety."""

import os
import time
from multiprocessing.connection import Connection

from talkhead.errors import Code, TalkheadError
from talkhead.serve import child
from talkhead.settings import Settings


def fails(pipe: Connection, settings: Settings, parent: int) -> None:
    error = TalkheadError(Code.INTERNAL, "no driver 💥", "install one")
    child.Line(pipe).send("failed", error=error.to_dict())


def leaves(pipe: Connection, settings: Settings, parent: int) -> None:
    os._exit(7)


def waits(pipe: Connection, settings: Settings, parent: int) -> None:
    time.sleep(600)


def watches_only(pipe: Connection, settings: Settings, parent: int) -> None:
    """Be a child that the kernel does not kill with its parent."""
    child.die_with = lambda parent: None
    child.main(pipe, settings, parent)
