"""The client that waits."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from time import sleep
from typing import Any, Self

import httpx

from talkhead.errors import TalkheadError
from talkhead.serve import replies
from talkhead.serve.client.calls import Calls
from talkhead.serve.client.steps import (
    BLOCK,
    Close,
    Effect,
    Json,
    Open,
    Outcome,
    Pause,
    Read,
    Send,
    Steps,
    Stream,
    trust,
)

PATIENCE_S = 20.0  # of waiting for a better answer


class Client:
    """One server or endpoint. Every method raises TalkheadError; close it, or use it in `with`.

    `base` is a server (`http://127.0.0.1:8000`) or an endpoint (`https://api.runpod.ai/v2/ID`).
    What a plain endpoint lacks (the list of jobs, partial videos) is an error there. `patience_s`
    bounds the waiting for a server that says 429, over all tries of one call. With `repeats`, calls
    that may be sent twice are sent again after a 5xx or a lost answer too, within the same
    patience. `on_wait` hears of each such pause: its seconds, and why.
    """

    def __init__(
        self,
        base: str,
        token: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        repeats: bool = True,
        on_wait: Callable[[float, TalkheadError], None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(base, token, patience_s, repeats=repeats)
        self._on_wait = on_wait
        self._http = httpx.Client(verify=trust(), transport=transport)

    @property
    def base(self) -> str:
        """The address, without a slash at its end."""
        return self._calls.base

    def __enter__(self) -> Self:
        """Use the client in a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._http.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, payload: Mapping[str, Any], **extras: Any) -> Json:
        """Queue a request; return `id` and `status`. Extras are RunPod's own, such as policy.

        With an `idempotency_key` in the payload it is sent again after a lost answer.
        """
        return self._do(self._calls.run(payload, extras))

    def put(self, job_id: str, payload: Mapping[str, Any], **extras: Any) -> Json:
        """Queue a request under an id of the caller's: sent again, it is the same job."""
        return self._do(self._calls.put(job_id, payload, extras))

    def runsync(self, payload: Mapping[str, Any]) -> Json:
        """Run a request and wait for its end; return the result's JSON, or raise its error."""
        return self._do(self._calls.runsync(payload))

    def wait(self, job_id: str, *, patience_s: float | None = None) -> Json:
        """Return the status body of a job that has ended.

        `patience_s` is for each look at it, in place of the client's own.
        """
        return self._do(self._calls.wait(job_id, patience_s))

    def status(self, job_id: str) -> Json:
        """Return the status body: id, status, output or error."""
        return self._do(self._calls.status(job_id))

    def events(self, job_id: str, *, patience_s: float | None = None) -> Iterator[Json]:
        """Yield status bodies as a job goes on; the last one has ended.

        Server-sent events where the server has them, otherwise looks at /status; `patience_s` is
        for each look, so that a server that is away for a while is waited for.
        """
        watch = self._calls.watch(job_id, patience_s)
        try:
            while (body := self._do(watch.next())) is not None:
                yield body
        finally:
            self._do(watch.close())

    def cancel(self, job_id: str) -> Json:
        """Stop a job."""
        return self._do(self._calls.cancel(job_id))

    def retry(self, job_id: str) -> Json:
        """Queue a job again that has failed."""
        return self._do(self._calls.retry(job_id))

    def health(self) -> Json:
        """Return RunPod's counts of jobs and workers."""
        return self._do(self._calls.health())

    def is_ours(self) -> bool:
        """Return whether this is a talkhead server, with uploads, history and PUT /run/ID."""
        return self._do(self._calls.is_ours())

    def upload(self, file: Path, name: str | None = None) -> str:
        """Send a file; return the reference that a request names it by.

        At a plain endpoint the reference is the file itself, up to 7 MB; a larger one is put where
        the endpoint's action `uploads` says.
        """
        return self._do(self._calls.upload(file, name))

    def lend(self, *files: Path) -> list[str]:
        """Put files where the endpoint's action `uploads` says; return their references."""
        return self._do(self._calls.lend([(file, file.name) for file in files]))

    def capabilities(self) -> Json:
        """Return what the server can do, `ours` telling a talkhead server from a plain endpoint."""
        return self._do(self._calls.capabilities())

    def jobs(self, limit: int = 30, before: int | None = None, status: str | None = None) -> Json:
        """Return `jobs`, newest first, and `next`: the `before` of those that follow, or None."""
        return self._do(self._calls.jobs(limit, before, status))

    def job(self, job_id: str) -> Json:
        """Return one job: its entry, what was asked and how it ended."""
        return self._do(self._calls.job(job_id))

    def forget(self, job_id: str) -> None:
        """Delete a job that has ended, with its files."""
        self._do(self._calls.forget(job_id))

    def partial(self, job_id: str, target: Path) -> bool:
        """Save the video as far as it is made; False where there is none yet."""
        return self._do(self._calls.partial(job_id, target))

    def url(self, link: str) -> str:
        """Return a result's link as an absolute URL."""
        return self._calls.url(link)

    def download(
        self, link: str, target: Path, *, sha256: str | None = None, size: int | None = None
    ) -> Path:
        """Save what a result's link leads to; the file appears whole or not at all.

        With `sha256` and `size` (bytes) of the result, anything else is E_DOWNLOAD_FAILED.
        """
        return self._do(self._calls.download(link, target, sha256, size))

    def _do(self, steps: Steps[Outcome]) -> Outcome:
        """Make steps happen, one after another, and return what they come to."""
        with closing(steps), ExitStack() as opened:
            given: Any = None
            failed: TalkheadError | None = None
            while True:
                try:
                    effect = steps.send(given) if failed is None else steps.throw(failed)
                except StopIteration as done:
                    opened.pop_all()  # a stream that is still open goes on in later steps
                    found: Outcome = done.value
                    return found
                try:
                    given, failed = self._perform(effect, opened), None
                except TalkheadError as error:
                    given, failed = None, error

    def _perform(self, effect: Effect, opened: ExitStack) -> Any:
        match effect:
            case Send():
                return self._sent(effect)
            case Open(send, lines):
                with replies.network(self._calls.shown(send.url)):
                    arguments = send.arguments(self._calls.own(send))
                    request = self._http.build_request(**arguments)
                    reply = self._http.send(request, stream=True, follow_redirects=True)
                    opened.callback(reply.close)
                    if reply.is_error:
                        reply.read()
                return Stream(reply, reply.iter_lines() if lines else reply.iter_bytes(BLOCK))
            case Read(stream):
                with replies.network(self._calls.shown(str(stream.reply.url))):
                    return next(stream.pieces, None)  # type: ignore[arg-type]
            case Close(stream):
                stream.reply.close()
            case Pause(seconds, why):
                if why is not None and self._on_wait is not None:
                    self._on_wait(seconds, why)
                sleep(seconds)
        return None

    def _sent(self, send: Send) -> httpx.Response:
        with replies.network(self._calls.shown(send.url)), ExitStack() as files:
            arguments = send.arguments(self._calls.own(send))
            if send.file is not None:
                arguments["content"] = files.enter_context(send.file.open("rb"))
            return self._http.request(**arguments)
