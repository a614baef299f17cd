"""A batch on the command line: its file read, its outputs named, its items told one by one."""

import secrets
from pathlib import Path, PurePosixPath
from typing import Any, cast

from rich.console import Console
from rich.markup import escape

from talkhead import intake, job, jobs
from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import SCHEMES
from talkhead.request import Batch
from talkhead.result import ItemEnd, Result
from talkhead.runtime import Runtime
from talkhead.serve import console, local, words
from talkhead.settings import load
from talkhead.stores.local import FileSet
from talkhead.validation import parse

ENDINGS = {"talk": ".mp4", "animate": ".mp4", "speak": ".wav", "portrait": ".png"}


def read(file: Path | None, resume: str | None, *, plan: bool) -> Batch:
    """Return the batch of a file, or an unfinished one by its id, with a key in any case."""
    payload: Any
    if file is None:
        if resume is None:
            raise _wrong("no file was given", "write talkhead batch FILE -o FOLDER")
        payload = jobs.saved_request(load().jobs, resume)
        if payload is None:
            raise intake.unknown_job(resume)
    else:
        payload = words.loaded(file)
        payload = {"items": payload} if isinstance(payload, list) else words.unwrapped(payload)
    if not isinstance(payload, dict) or payload.get("action", "batch") != "batch":
        raise _wrong(
            f"{file or resume} is not a batch",
            'write {"items": [ … ]}, or only the list; `talkhead talk --request` takes one request',
        )
    # the files of a batch are found again by its id, so it has one before it begins
    key = resume or payload.get("idempotency_key") or secrets.token_hex(8)
    asked = {**payload, "action": "batch", "idempotency_key": key}
    return cast(Batch, parse({**asked, "dry_run": True} if plan else asked))


def files(batch: Batch, out: Path | None, resume: str | None, *, force: bool) -> FileSet:
    """Return where the outputs go, or raise before any work where they cannot.

    A batch that goes on may replace what it has left there.
    """
    if out is None and not batch.dry_run:
        raise _wrong("no folder was given", "add -o FOLDER")
    folder = (out or Path()).expanduser()
    found = FileSet(folder, batch.idempotency_key or "", _stems(batch))
    if batch.dry_run:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TalkheadError(
            Code.STORE, f"cannot make the folder {folder}: {error.strerror}", "choose another -o"
        ) from error
    inputs = _inputs(batch)
    for target in _targets(batch, found):
        if any(target.exists() and path.exists() and target.samefile(path) for path in inputs):
            raise _wrong(f"{target} is an input of this batch", "choose another -o")
        if target.exists() and not (force or resume):
            raise _wrong(
                f"{target} exists already", "choose another -o, or add --force to replace it"
            )
    return found


def run(batch: Batch, target: FileSet, *, quiet: bool) -> Result:
    """Run a batch in this process, with progress unless quiet."""
    runtime = Runtime(load(weights_aliases=True), target, local_paths=True)
    with console.progress(quiet) as report, local.stop_on_signal() as cancel:
        return job.run(batch, runtime, report, cancel=cancel)


def told(result: Result, target: FileSet, json_wanted: bool) -> bool:
    """Print what came of each item; return whether all went well."""
    if json_wanted:
        console.as_json(result.model_dump(mode="json"))
    else:
        for end in result.items:
            _told(end, target)
        console.out(_sum(result))
    return all(end.error is None for end in result.items)


def _told(end: ItemEnd, target: FileSet) -> None:
    if end.error is not None:
        screen = Console(stderr=True, soft_wrap=True, highlight=False)
        screen.print(f"{end.index}  [bold red]{end.error.code}[/] {escape(end.error.message)}")
        screen.print(f"   [dim]→[/] {escape(end.error.hint)}")
    elif end.result is not None and end.result.outputs:
        made = end.result.outputs[0]
        known = ", was there" if end.result.repeated else ""
        console.out(f"{end.index}  {target.path(made.key)}  {console.facts(made)}{known}")
    elif end.result is not None and end.result.plan is None:
        console.out(f"{end.index}  {end.result.action}, one step")
    elif end.result is not None and end.result.plan is not None:
        plan = end.result.plan
        about = "about " if plan.estimated else ""
        console.out(
            f"{end.index}  {plan.engine}, {plan.width}x{plan.height}, {about}{plan.seconds:.2f} s, "
            f"about {console.shown_time(plan.estimated_seconds)} of work"
        )


def _sum(result: Result) -> str:
    total = result.total
    if total is None:
        return ""
    good = f"{total.items - total.failed} of {total.items} items"
    video = f"{'about ' if total.estimated else ''}{total.seconds:.2f} s of video"
    if result.job_id is None:
        work = console.shown_time(total.estimated_seconds)
        memory = f"at most about {total.estimated_memory_mb} MB of memory"
        return f"{good}: {video}, about {work} of work, {memory}"
    return f"{good}: {video}, {sum(result.seconds.values()):.1f} s of work"


def _stems(batch: Batch) -> tuple[str, ...]:
    """Return the items' file names without endings: their own, or their indices."""
    digits = len(str(len(batch.items) - 1))
    stems: list[str] = []
    for index, item in enumerate(batch.items):
        stem = item.output.name or f"{index:0{digits}d}"
        stem = PurePosixPath(stem).stem if stem.endswith(ENDINGS[item.action]) else stem
        if stem.casefold() in map(str.casefold, stems):
            raise TalkheadError(
                Code.INPUT,
                f"items.{index}.output.name: another item's files are called {stem!r} too",
                "give the items names of their own, or none",
                fields=[f"items.{index}.output.name"],
            )
        stems.append(stem)
    return tuple(stems)


def _targets(batch: Batch, found: FileSet) -> list[Path]:
    made = [found.folder / "result.json"]
    for item, stem in zip(batch.items, found.stems, strict=True):
        names = (f"{stem}{ENDINGS[item.action]}", f"{stem}.thumbnail.jpg", f"{stem}.result.json")
        made += [found.folder / name for name in names]
    return made


def _inputs(batch: Batch) -> list[Path]:
    refs: list[str | None] = []
    for item in batch.items:
        speakers = getattr(item, "speakers", ())
        fields = [getattr(item, name, None) for name in ("portrait", "video", "source", "sample")]
        refs += [*fields, *(ref for each in speakers for ref in (each.audio, each.sample))]
    return [Path(ref) for ref in refs if ref and not ref.startswith(SCHEMES)]


def _wrong(message: str, hint: str) -> TalkheadError:
    return TalkheadError(Code.INPUT, message, hint)
