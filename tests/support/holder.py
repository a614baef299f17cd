"""A process that holds a host, for tests that kill it: `python -m support.holder FOLDER HOW WAY`.

It prints a JSON line {"holder": what, ...} when the child is ready, when the job renders and when
it is done.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from support.faulty import starts
from support.hosting import order, settings_in
from talkhead.result import Progress
from talkhead.serve import child, logs
from talkhead.serve.worker import Host


def tell(what: str, **more: object) -> None:
    os.write(1, f"{json.dumps({'holder': what, **more})}\n".encode())


def heartbeat() -> None:
    """Fork a process that keeps every file open, as the RunPod SDK does for its pings."""
    if (pid := os.fork()) == 0:
        time.sleep(20)
        os._exit(0)
    tell("heartbeat", pid=pid)


async def hold(folder: Path, how: str, way: str) -> None:
    settings = settings_in(folder)
    logs.setup(settings)
    if way == "polling":
        child.main = starts.watches_only
    host = Host(settings)
    await host.start()
    if way == "polling":
        heartbeat()
    tell("ready", pid=host.pid)
    seen: set[str] = set()

    def progress(step: Progress) -> None:
        if step.stage not in seen:
            seen.add(step.stage)
            tell(step.stage)

    result = await host.run(order("held", how, frames=175), progress)
    tell("done", segments=result.segments.model_dump() if result.segments else None)
    if way != "forgetful":
        await host.close()


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1]), *sys.argv[2:]))
