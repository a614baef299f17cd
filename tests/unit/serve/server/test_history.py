"""The list of jobs, page by page."""

from pathlib import Path

from talkhead.serve.queue import Queue, Ticket
from talkhead.serve.server.history import visible


def test_pages_lose_and_repeat_no_job(tmp_path: Path) -> None:
    """Programs send many jobs in the same millisecond, and ask questions between."""
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db", lambda: 1_800_000_000.0)
    sent = []
    for at in range(230):  # more than are looked at together
        is_question = at % 3 == 0
        name = f"job-{at}"
        queue.submit(Ticket(name, {}, facts={"aside": True} if is_question else {}), room=999)
        sent += [] if is_question else [name]
    seen: list[str] = []
    before: int | None = None
    while page := visible(queue, 7, before, None):
        seen += [entry.id for entry in page]
        before = page[-1].turn
    queue.close()
    assert seen == sent[::-1]
