"""The RunPod worker: the SDK's own loop in front of the host."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import runpod.serverless  # type: ignore[import-untyped]
from runpod.http_client import get_auth_header  # type: ignore[import-untyped]
from runpod.serverless.modules import rp_http  # type: ignore[import-untyped]

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress
from talkhead.serve import fitness, logs, sdk
from talkhead.serve.answering import Asked, answer
from talkhead.serve.progress import DRAIN_S, News, Post, Sender
from talkhead.serve.worker import Host, Order
from talkhead.settings import Settings

POST_S = 10.0  # for one word of progress
HURRY_S = 0.5  # that progress may hold up the answer while the worker is told to end


def serve(settings: Settings, *, tied: bool = False) -> None:
    """Take jobs from the platform until told to end. Leaves with status 1 on an unfit machine."""
    front = Front(settings)
    sdk.log_through_ours()
    for check in fitness.checks(settings):
        runpod.serverless.register_fitness_check(check)
    sdk.attend(front.open, front.interrupt, tied=tied)
    if settings.worker.generator:
        runpod.serverless.start({"handler": front.stream, "return_aggregate_stream": True})
    else:
        runpod.serverless.start({"handler": front.handle})


class Front:
    """The host and the line to the platform. Both are opened inside the SDK's event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = Host(settings)
        self._drain_s = DRAIN_S
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, job: dict[str, Any]) -> dict[str, Any]:
        """Answer one job; `error` is a JSON string. The SDK's handler.

        When the job is stopped, this ends only after the host is free again, since the SDK takes
        the next job as soon as it does.
        """
        return await self._done(job, lambda _: None)

    async def stream(self, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield a job's progress now and then, and its answer last. The SDK's generator handler.

        The SDK takes the error alone of a job that failed. It leaves a generator behind where it
        is stopped while it posts what came, so the job hangs on the SDK's own task.
        """
        news = News()
        work = asyncio.create_task(self._done(job, news))
        owner = asyncio.current_task()
        if owner is not None:
            owner.add_done_callback(lambda _: work.cancel())
        try:
            async for shown in news.until(work):
                yield shown
            answered = await work
            yield {"error": answered["error"]} if "error" in answered else answered
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _done(self, job: dict[str, Any], told: Callable[[Progress], None]) -> dict[str, Any]:
        asked = Asked(job["id"], job.get("input"), job.get("s3Config"))
        sender = Sender(self._post_of(asked.id), self._unheard(asked.id))

        def tell(progress: Progress) -> None:
            sender(progress)
            told(progress)

        try:
            answered = await answer(asked, self._host, self._settings, tell)
        finally:
            await sender.drain(self._drain_s)
        if answered.error is None:
            return answered.body
        return {**answered.body, "error": answered.text}

    def interrupt(self) -> None:
        """End the running job with E_CANCELLED, and let progress hold up nothing."""
        self._drain_s = HURRY_S
        self._host.interrupt()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the host and see it work; end it when the loop ends."""
        timeout = aiohttp.ClientTimeout(total=POST_S)
        async with aiohttp.ClientSession(headers=get_auth_header(), timeout=timeout) as session:
            self._session = session
            try:
                await self._fit()
                logs.event("worker.started", version=__version__, engine=self._settings.engine)
                yield
            finally:
                await self._host.close()

    async def _fit(self) -> None:
        """Start the child and have it build the default engine, or leave with status 1."""
        seconds = self._settings.worker.check_s
        try:
            await self._host.start()
            if self._settings.engine != "auto":  # local runs may leave it open
                health = Order("health", {"action": "health"})
                await asyncio.wait_for(self._host.run(health, lambda _: None), seconds)
        except TimeoutError:
            await self._leave_unfit(fitness.slow("engine", seconds))
        except TalkheadError as error:
            if error.code is Code.CANCELLED:  # told to end before it had begun
                sys.exit(0)
            await self._leave_unfit(error)

    async def _leave_unfit(self, error: TalkheadError) -> None:
        said = fitness.unfit("engine", error)
        await asyncio.to_thread(sdk.report_unhealthy, "engine", said.message)
        sys.exit(1)

    def _post_of(self, job_id: str) -> Post:
        """Return what posts progress of a job: the SDK's own form, without its retries."""
        url = rp_http.JOB_DONE_URL.replace("$ID", job_id) + "&isStream=false"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "charset": "utf-8",
            "X-Request-ID": job_id,
        }

        async def post(payload: dict[str, Any]) -> None:
            if (session := self._session) is None:
                raise ConnectionError("the line to the platform is not open")
            body = json.dumps({"status": "IN_PROGRESS", "output": payload}, ensure_ascii=False)
            try:
                async with session.post(url, data=body, headers=headers) as reply:
                    reply.raise_for_status()
            except aiohttp.ClientResponseError as error:
                raise ConnectionError(f"status {error.status}") from error
            except aiohttp.ClientError as error:
                raise ConnectionError(type(error).__name__) from error

        return post

    def _unheard(self, job_id: str) -> Callable[[Exception], None]:
        def tell(error: Exception) -> None:
            logs.event("progress.undelivered", job_id=job_id, level="warning", why=str(error))

        return tell
