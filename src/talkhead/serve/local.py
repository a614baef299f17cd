"""Run one request in this process, the way a terminal expects: progress, Ctrl-C, exit status."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from talkhead.errors import TalkheadError
from talkhead.result import Result
from talkhead.serve.words import Payload
from talkhead.serve.words import load as load_json
from talkhead.settings import load
from talkhead.stores.local import SingleFile

# What runs jobs loads numpy and av, which no command waits for that runs none here; a server that
# starts does not wait for rich.
if TYPE_CHECKING:
    from talkhead.jobs import Kept


def start(base: Path | None, resume: str | None) -> Payload:
    """Return the payload to begin with: a file's, an unfinished job's, or an empty one."""
    from talkhead import intake, jobs  # noqa: PLC0415

    if resume is None or base is not None:
        return load_json(base)
    saved = jobs.saved_request(load().jobs, resume)
    if saved is None:
        raise intake.unknown_job(resume)
    return saved


def run(payload: Payload, out: Path | None, *, resume: str | None = None, quiet: bool) -> Result:
    """Run a request whose main output goes to out, with progress unless quiet."""
    from talkhead import job  # noqa: PLC0415
    from talkhead.runtime import Runtime  # noqa: PLC0415
    from talkhead.serve import console  # noqa: PLC0415
    from talkhead.validation import parse  # noqa: PLC0415

    store = SingleFile(out) if out else None
    runtime = Runtime(load(weights_aliases=True), store, local_paths=True)
    with console.progress(quiet) as report, stop_on_signal() as cancel:
        return job.run(parse(payload), runtime, report, cancel=cancel, resume=resume)


def unfinished() -> "list[Kept]":
    """Return the unfinished jobs of this machine, newest first."""
    from talkhead import jobs  # noqa: PLC0415

    return jobs.kept(load().jobs)


def clean(everything: bool) -> "list[Kept]":
    """Delete unfinished jobs by the operator's limits, or all that do not run; return them."""
    from talkhead import jobs  # noqa: PLC0415

    settings = load()
    if everything:
        return jobs.clean(settings.jobs, keep_days=0, keep_gb=0)
    return jobs.clean(settings.jobs, settings.keep_days, settings.keep_gb)


@contextmanager
def failures(json: bool, again: str = "", verbose: bool = False) -> Iterator[None]:
    """Turn a named failure into its message and exit status.

    `again` is the command that resumes, with {job_id} in it.
    """
    try:
        yield
    except TalkheadError as error:
        from talkhead.serve import console  # noqa: PLC0415

        if verbose and error.__cause__:
            traceback.print_exception(error)
        command = again.format(job_id=error.job_id) if again and error.job_id else ""
        console.error(error, json, command)
        raise typer.Exit(error.exit_code) from error


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second one stops at once."""
    cancel = threading.Event()
    previous: dict[int, Any] = {}

    def stop(number: int, _frame: FrameType | None) -> None:
        cancel.set()
        signal.signal(number, previous[number])
        sys.stderr.write("\nstopping …\n")

    for wanted in (signal.SIGINT, signal.SIGTERM):
        previous[wanted] = signal.signal(wanted, stop)
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
