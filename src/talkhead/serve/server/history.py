"""The list of jobs, and what goes with one that is forgotten."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import get_args

from talkhead.serve.queue import Entry, Queue, Status
from talkhead.serve.server.refusals import refused
from talkhead.settings import Settings

BATCH = 100  # jobs that are looked at together


def asked(query: Mapping[str, str], usual: int, most: int) -> tuple[int, int | None, Status | None]:
    """Return how many jobs are wanted, before which, and in which state; raise RefusedError."""
    limit, before, status = query.get("limit"), query.get("before"), query.get("status")
    if limit is not None and not (limit.isascii() and limit.isdigit() and 0 < int(limit) <= most):
        raise refused(400, f"limit: not a number from 1 to {most}")
    known: tuple[Status, ...] = get_args(Status)
    wanted = next((each for each in known if each == status), None)
    if status is not None and wanted is None:
        raise refused(400, "status: unknown", f"one of {', '.join(known)}")
    return int(limit or usual), _turn(before), wanted


def visible(queue: Queue, limit: int, before: int | None, status: Status | None) -> list[Entry]:
    """Return so many of the newest jobs, without plans and other questions."""
    found: list[Entry] = []
    while len(found) < limit:
        more = queue.listed(BATCH, before, status)
        found += [entry for entry in more if not entry.facts.get("aside")]
        if len(more) < BATCH:
            break
        before = more[-1].turn
    return found[:limit]


def forget(settings: Settings, entry: Entry) -> int:
    """Delete the files of an ended job from the operator's store; return how many there were."""
    result = (entry.output or {}).get("result") or {}
    items = [end["result"] for end in result.get("items") or () if "result" in end]
    made = [made for each in (result, *items) for made in each.get("outputs") or ()]
    keys = [str(item["key"]) for item in made if item["kind"] != "stream"]
    streams = [str(item["key"]) for item in made if item["kind"] == "stream"]
    if not keys:
        return 0
    homes = {str(PurePosixPath(key).parent) for key in keys}
    if items:  # they lie in folders of the batch's own, where its record is
        homes |= {str(PurePosixPath(home).parent) for home in homes}
    from talkhead import playlists  # noqa: PLC0415 (heavy: the port opens without it)
    from talkhead.deliver import CLAIM, RECORD  # noqa: PLC0415
    from talkhead.runtime import Runtime  # noqa: PLC0415

    store = Runtime(settings, serving=True).source()
    try:
        for key in keys:
            store.delete(key)
        for key in streams:
            playlists.delete(store, key)
        for home in homes:
            for name in (RECORD, CLAIM):
                store.delete(f"{home}/{name}")
    finally:
        store.close()
    return len(keys) + len(streams)


def _turn(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise refused(400, "before: not a page of the list", "take `next` of the answer before")
    return int(text)
