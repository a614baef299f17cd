"""An object on its way to disk: within its limit, whole, or not there at all."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from talkhead.errors import Code, TalkheadError
from talkhead.stores import Tick


def write(
    pieces: Iterable[bytes], into: Path, total: int, limit: int, tick: Tick, sha256: str | None
) -> None:
    """Write pieces to `into`; `total` bytes are expected, with this digest where one is known.

    Raises E_INPUT_VALIDATION over `limit` bytes, E_DOWNLOAD_FAILED where the end or the content
    differs. No failure leaves a file.
    """
    refuse_large(total, limit)
    digest, done = hashlib.sha256(), 0
    try:
        with into.open("wb") as file:
            for piece in pieces:
                done += len(piece)
                refuse_large(done, limit)
                file.write(piece)
                digest.update(piece)
                tick(done, total)
        _refuse_other(done, total, sha256 in {None, digest.hexdigest()})
    except BaseException:
        into.unlink(missing_ok=True)
        raise


def refuse_large(size: int, limit: int) -> None:
    """Raise E_INPUT_VALIDATION for more than `limit` bytes."""
    if size > limit:
        raise TalkheadError(
            Code.INPUT, f"{size / 1e6:.1f} MB is over the limit of {limit / 1e6:.1f} MB"
        )


def _refuse_other(done: int, total: int, same: bool) -> None:
    if done != total or not same:
        raise TalkheadError(
            Code.DOWNLOAD, f"{done} of {total} bytes came, or other ones", "send the job again"
        )
