"""What has to hold before a worker takes jobs, each within a time of its own.

The platform's SDK puts no limit on a check and shows its class name first; these end in time and
leave one line that says what to do.
"""

import asyncio
import difflib
import json
import shutil
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from talkhead import registry
from talkhead.errors import Code, TalkheadError
from talkhead.report import naming
from talkhead.serve import logs
from talkhead.settings import Settings
from talkhead.stores import Store

FREE_GB = 1.0  # that the disk of the job folders must have
PROBE = ".talkhead-probe"

Check = Callable[[], Awaitable[None]]


def checks(settings: Settings) -> list[Check]:
    """Return the checks of this machine, named for the log. Each raises TalkheadError."""

    async def jobs_folder() -> None:
        await within(settings, "jobs_folder", lambda: jobs_folder_works(settings.jobs))

    async def store() -> None:
        await within(settings, "store", lambda: store_works(settings))

    return [jobs_folder, store]


async def within(settings: Settings, name: str, check: Callable[[], None]) -> None:
    """Run a check in a thread; raise its failure, or E_TIMEOUT after settings.worker.check_s.

    A check that hangs keeps its thread, which ends with the unfit process.
    """
    seconds = settings.worker.check_s

    def named() -> None:
        with naming(None):
            check()

    try:
        await asyncio.wait_for(asyncio.to_thread(named), seconds)
    except TimeoutError as error:
        raise unfit(name, slow(name, seconds)) from error
    except TalkheadError as error:
        raise unfit(name, error) from error


def slow(name: str, seconds: float) -> TalkheadError:
    """Return the error of a check that took too long."""
    return TalkheadError(
        Code.TIMEOUT,
        f"{name}: no answer within {seconds:g} s",
        "see whether what it looks at hangs, or raise TALKHEAD_WORKER__CHECK_S",
    )


def unfit(name: str, error: TalkheadError) -> TalkheadError:
    """Log why this machine is unfit, and return it as one sentence with the way out."""
    logs.event("fitness.failed", level="error", check=name, error=logs.wire(error))
    return TalkheadError(error.code, f"{error.message} ({error.hint})", error.hint)


def jobs_folder_works(folder: Path) -> None:
    """Raise E_CAPACITY where job folders cannot be written or have no room."""
    probe = folder / f"{PROBE}-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"talkhead")
        probe.unlink()
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write job folders in {folder}: {error.strerror}",
            "set TALKHEAD_JOBS to a folder that this user can write",
        ) from error
    if free < FREE_GB:
        raise TalkheadError(
            Code.CAPACITY,
            f"{free:.1f} GB free for job folders in {folder}, {FREE_GB:g} GB needed",
            "set TALKHEAD_JOBS to a larger disk, or give the container a larger one",
        )


def store_works(settings: Settings) -> None:
    """Put, read and delete a small object; raise what the store says, or E_UPLOAD."""
    from talkhead.folder import file_digest  # noqa: PLC0415 (a server starts without numpy)

    store: Store = registry.resolve("store", settings.store.kind, registry.STORES).open(
        settings.store
    )
    name = f"{PROBE}-{uuid.uuid4().hex}"
    key = "/".join(part for part in (settings.store.prefix.strip("/"), name) if part)
    settings.jobs.mkdir(parents=True, exist_ok=True)
    file, content = settings.jobs / name, json.dumps({"probe": name}).encode()
    try:
        file.write_bytes(content)
        store.put(file, key, mime="application/json", sha256=file_digest(file))
        held = store.read(key)
        store.delete(key)
    finally:
        file.unlink(missing_ok=True)
        store.close()
    if held != content:
        raise TalkheadError(
            Code.STORE,
            f"the {settings.store.kind} store does not give back what was put there",
            "see whether its bucket and its endpoint belong together",
        )


def refuse_unfinished_settings(settings: Settings) -> None:
    """Raise E_INPUT_VALIDATION where settings leave out what a worker cannot do without."""
    if settings.store.kind == "local" and "store" not in settings.model_fields_set:
        raise TalkheadError(
            Code.INPUT,
            "no store is set: results would stay inside this container, where nobody can get them",
            "set TALKHEAD_STORE__KIND to s3 or supabase and what it needs (docs/worker.md), or to "
            "local with TALKHEAD_STORE__ROOT on a network volume",
            fields=["store"],
        )
    if settings.engine == "auto":
        raise TalkheadError(
            Code.INPUT,
            "no default engine is set for this worker",
            "set TALKHEAD_ENGINE, for example to draft",
            fields=["engine"],
        )


def refuse_unknown_families(settings: Settings) -> None:
    """Raise E_INPUT_VALIDATION where TALKHEAD_COMPAT_ENGINES replaces what nothing is called."""
    known = sorted(
        {
            *(*registry.ENGINES, *registry.LATER_ENGINES, *settings.engines),
            *(*registry.VOICES, *registry.LATER_VOICES, *settings.voices),
        }
    )
    for name in settings.compat_engines:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise TalkheadError(
                Code.INPUT,
                f"TALKHEAD_COMPAT_ENGINES: {name!r} is no engine or voice of an older payload"
                + (f", did you mean {near[0]!r}?" if near else ""),
                f"known: {', '.join(known)}",
                fields=["compat_engines"],
            )
