"""The client that is awaited: the same methods as the other, for an event loop."""

from asyncio import sleep, to_thread
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
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
from talkhead.serve.client.sync import PATIENCE_S


class AsyncClient:
    """One server or endpoint, as `Client`; close it by `aclose`, or use it in `async with`."""

    def __init__(
        self,
        base: str,
        token: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        repeats: bool = True,
        on_wait: Callable[[float, TalkheadError], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(base, token, patience_s, repeats=repeats)
        self._on_wait = on_wait
        self._http = httpx.AsyncClient(verify=trust(), transport=transport)

    @property
    def base(self) -> str:
        """The address, without a slash at its end."""
        return self._calls.base

    async def __aenter__(self) -> Self:
        """Use the client in an `async with` block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, payload: Mapping[str, Any], **extras: Any) -> Json:
        """As `Client.run`."""
        return await self._do(self._calls.run(payload, extras))

    async def put(self, job_id: str, payload: Mapping[str, Any], **extras: Any) -> Json:
        """As `Client.put`."""
        return await self._do(self._calls.put(job_id, payload, extras))

    async def runsync(self, payload: Mapping[str, Any]) -> Json:
        """As `Client.runsync`."""
        return await self._do(self._calls.runsync(payload))

    async def wait(self, job_id: str, *, patience_s: float | None = None) -> Json:
        """As `Client.wait`."""
        return await self._do(self._calls.wait(job_id, patience_s))

    async def status(self, job_id: str) -> Json:
        """As `Client.status`."""
        return await self._do(self._calls.status(job_id))

    async def events(self, job_id: str, *, patience_s: float | None = None) -> AsyncIterator[Json]:
        """As `Client.events`."""
        watch = self._calls.watch(job_id, patience_s)
        try:
            while (body := await self._do(watch.next())) is not None:
                yield body
        finally:
            await self._do(watch.close())

    async def cancel(self, job_id: str) -> Json:
        """As `Client.cancel`."""
        return await self._do(self._calls.cancel(job_id))

    async def retry(self, job_id: str) -> Json:
        """As `Client.retry`."""
        return await self._do(self._calls.retry(job_id))

    async def health(self) -> Json:
        """As `Client.health`."""
        return await self._do(self._calls.health())

    async def is_ours(self) -> bool:
        """As `Client.is_ours`."""
        return await self._do(self._calls.is_ours())

    async def upload(self, file: Path, name: str | None = None) -> str:
        """As `Client.upload`."""
        return await self._do(self._calls.upload(file, name))

    async def lend(self, *files: Path) -> list[str]:
        """As `Client.lend`."""
        return await self._do(self._calls.lend([(file, file.name) for file in files]))

    async def capabilities(self) -> Json:
        """As `Client.capabilities`."""
        return await self._do(self._calls.capabilities())

    async def jobs(
        self, limit: int = 30, before: int | None = None, status: str | None = None
    ) -> Json:
        """As `Client.jobs`."""
        return await self._do(self._calls.jobs(limit, before, status))

    async def job(self, job_id: str) -> Json:
        """As `Client.job`."""
        return await self._do(self._calls.job(job_id))

    async def forget(self, job_id: str) -> None:
        """As `Client.forget`."""
        await self._do(self._calls.forget(job_id))

    async def partial(self, job_id: str, target: Path) -> bool:
        """As `Client.partial`."""
        return await self._do(self._calls.partial(job_id, target))

    def url(self, link: str) -> str:
        """As `Client.url`."""
        return self._calls.url(link)

    async def download(
        self, link: str, target: Path, *, sha256: str | None = None, size: int | None = None
    ) -> Path:
        """As `Client.download`."""
        return await self._do(self._calls.download(link, target, sha256, size))

    async def _do(self, steps: Steps[Outcome]) -> Outcome:
        """Make steps happen, one after another, and return what they come to."""
        with closing(steps):
            async with AsyncExitStack() as opened:
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
                        given, failed = await self._perform(effect, opened), None
                    except TalkheadError as error:
                        given, failed = None, error

    async def _perform(self, effect: Effect, opened: AsyncExitStack) -> Any:
        match effect:
            case Send():
                return await self._sent(effect)
            case Open(send, lines):
                with replies.network(self._calls.shown(send.url)):
                    arguments = send.arguments(self._calls.own(send))
                    request = self._http.build_request(**arguments)
                    reply = await self._http.send(request, stream=True, follow_redirects=True)
                    opened.push_async_callback(reply.aclose)
                    if reply.is_error:
                        await reply.aread()
                return Stream(reply, reply.aiter_lines() if lines else reply.aiter_bytes(BLOCK))
            case Read(stream):
                with replies.network(self._calls.shown(str(stream.reply.url))):
                    return await anext(stream.pieces, None)  # type: ignore[arg-type]
            case Close(stream):
                await stream.reply.aclose()
            case Pause(seconds, why):
                if why is not None and self._on_wait is not None:
                    self._on_wait(seconds, why)
                await sleep(seconds)
        return None

    async def _sent(self, send: Send) -> httpx.Response:
        with replies.network(self._calls.shown(send.url)):
            arguments = send.arguments(self._calls.own(send))
            if send.file is not None:
                arguments["content"] = _blocks(send.file)
            return await self._http.request(**arguments)


async def _blocks(file: Path) -> AsyncIterator[bytes]:
    """Yield a file's bytes, read in a thread: a disk may be slow."""
    with await to_thread(file.open, "rb") as source:
        while block := await to_thread(source.read, BLOCK):
            yield block
