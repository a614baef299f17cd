"""Several requests as one job. Each item is a job of its own, and one that fails fails alone.

    jobs/<id>/          the batch: its lock, its request, and how far its items are
    jobs/<id>/<index>/  the job folder of an item

An item is the job `<id>/<index>`, among the job folders as in the store. A caller's own key holds
no slash, so it never is an item's. First all items are planned, which is cheap and says how much
work there is; then they are done in order.
"""

import gc
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from talkhead import __version__, deliver, intake, survey
from talkhead.errors import Code, TalkheadError
from talkhead.folder import MANIFEST, Folder, Identity, digest, manifest_entries, open_folder
from talkhead.intake import Context
from talkhead.redaction import Redactor, secrets_in
from talkhead.report import naming
from talkhead.request import OWN_OUTPUT, WHOLE, Batch, Film, Job, Talk
from talkhead.result import Error, ItemEnd, Made, Notice, Progress, Result, Total, cost_of
from talkhead.survey import Work

Flow = Callable[[Any, Context], Result]
Try = Callable[[Any, Context], Result | None]
Survey = Callable[[Talk, Context], Work]

PLANNING = 3.0  # percent of a batch
FRAMES, SECONDS = 25, 1.0  # of an item that has no plan
DEATHS = 2  # of the process, over one item that got no further between them
KEPT_BYTES = 4e9  # of inputs that wait for their items; what is over is fetched again

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Part:
    """One item on its way."""

    index: int
    request: Job  # as the job that it is
    context: Context
    frames: int = FRAMES  # its share of the work
    seconds: float = SECONDS  # of work, as planned
    took: float = 0.0  # seconds of work, as it was
    end: ItemEnd | None = None


def run(batch: Batch, context: Context, flows: Mapping[str, Flow], look: Survey) -> Result:
    """Do every item; return their ends in order, each a result or an error.

    Raises only what no other item could escape: a cancel, the deadline, a full disk, a store that
    does not take the batch itself.
    """
    name = _name(batch, context)
    parts = [_part(batch, index, name, context) for index in range(len(batch.items))]
    if batch.dry_run:
        course = Course(parts, context)
        for part in parts:
            planned = isinstance(part.request, Film)
            course.take(part, flows[part.request.action] if planned else _unplanned, "plan")
        return _foretold(batch, _result(batch, name, parts, context), context)
    asked = digest([intake.identify(part.request, {}, None, context).asked for part in parts])
    with _folder_of(batch, asked, name, context) as folder:
        deliver.claim(name, asked, batch.output, context.runtime, context.scratch)
        course = Course(parts, context, folder)
        course.plan_all(look)
        late = _late(batch, parts, context)
        room = context.runtime.settings.inline_mb * 1e6
        for part in parts:
            if part.end is None:
                course.take(part, flows[part.request.action], "render")
            room -= _inlined(part, room, context)
            folder.note(item=part.index, done=True)
            shutil.rmtree(part.context.scratch, ignore_errors=True)
            gc.collect()  # what an item held is not there when the next one begins
        done = _result(batch, name, parts, context)
        done = done.model_copy(update={"request_digest": asked, "warnings": tuple(late)})
        with naming("store"):
            deliver.keep_record(done, batch.output, context.runtime, context.scratch)
        if not any(path.is_dir() for path in folder.path.iterdir()):
            folder.remove()  # else an item that failed goes on when the batch comes again
    return done


class Course:
    """How a batch goes: it takes items through their flows, and tells of them as of one job."""

    def __init__(self, parts: list[Part], context: Context, folder: Folder | None = None) -> None:
        self._parts = parts
        self._context = context
        self._folder = folder  # none for a plan

    def plan_all(self, look: Survey) -> None:
        """Answer items that an earlier run finished, and plan all others."""
        kept = 0
        for part in self._parts:
            self.take(part, partial(_planned, part, look), "plan")
            kept += sum(file.stat().st_size for file in part.context.scratch.rglob("*"))
            if kept > KEPT_BYTES:
                _forget_inputs(part)

    def take(self, part: Part, flow: Try, phase: str) -> None:
        """Take an item through a flow. Its error is its own, unless it is all items' end."""
        outer, began = self._context.reporter, time.monotonic()
        reporter = outer.part(partial(self._seen, part, phase))
        try:
            with naming(None), self._noted(part, phase):
                result = flow(part.request, replace(part.context, reporter=reporter))
        except TalkheadError as error:
            if ends_all(error):
                raise
            part.end = _failed(part, error, self._context)
            part.frames = 0 if phase == "plan" else part.frames
            return
        finally:
            for stage, seconds in reporter.seconds.items():
                outer.seconds[stage] = round(outer.seconds.get(stage, 0.0) + seconds, 3)
        if result is not None:
            part.end = ItemEnd(index=part.index, result=result)
            part.took = 0.0 if result.repeated else time.monotonic() - began

    @contextmanager
    def _noted(self, part: Part, phase: str) -> Iterator[None]:
        """Write down that work begins and that it ended; give up what kills every process."""
        if self._folder is None:
            yield
            return
        done = _committed(self._folder.path / str(part.index) / MANIFEST)
        mine = {"item": part.index, "phase": phase}
        deaths = 0
        for entry in self._folder.noted("item"):
            if mine.items() <= entry.items():
                deaths = deaths + 1 if entry.get("begun") == done else 0
        if deaths >= DEATHS:
            self._folder.note(**mine, left=True)  # a later try begins to count again
            raise TalkheadError(
                Code.GENERATION,
                f"{deaths} processes that were at this item ended without getting any further",
                "ask for a smaller size: there may be too little memory",
            )
        self._folder.note(**mine, begun=done)
        try:
            yield
        finally:
            self._folder.note(**mine, left=True)

    def _seen(self, part: Part, phase: str, step: Progress) -> Progress:
        """Return an item's step as one of the batch, by the frames that are planned."""
        count = len(self._parts)
        item = replace(step, item=part.index + 1, items=count)
        if phase == "plan":
            return replace(
                item, pct=PLANNING * part.index / count, segment=0, segments=0, eta_s=None
            )
        whole = sum(each.frames for each in self._parts)
        done = sum(each.frames for each in self._parts if each.end is not None)
        share = (done + part.frames * step.pct / 100) / max(whole, 1)
        return replace(
            item, pct=PLANNING + (100 - PLANNING) * share, eta_s=self._eta(part, step.eta_s)
        )

    def _eta(self, part: Part, own: float | None) -> float:
        """Return the seconds left: the item's own, and the other plans at the pace so far."""
        done = [each for each in self._parts if each.took]
        pace = sum(each.took for each in done) / sum(each.seconds for each in done) if done else 1.0
        rest = [each for each in self._parts if each.end is None and each is not part]
        own = part.seconds * pace if own is None else own
        return round(own + pace * sum(each.seconds for each in rest), 1)


def ends_all(error: TalkheadError) -> bool:
    """Return whether an item's error is one that every further item would meet."""
    full = error.code is Code.CAPACITY and error.retryable  # else one item is too large to fit
    return full or error.code in (Code.CANCELLED, Code.TIMEOUT)


def _name(batch: Batch, context: Context) -> str:
    """Return the id of a batch: the one to resume, its key, or a new one."""
    if context.resume is not None:
        return intake.resumed(context.resume, context)
    return batch.idempotency_key or secrets.token_hex(8)


def _part(batch: Batch, index: int, name: str, context: Context) -> Part:
    """Return an item as a job of its own, with its share of the batch's output."""
    item = batch.items[index]
    own = {field: getattr(item.output, field) for field in item.output.model_fields_set}
    output = batch.output.model_copy(update={field: own[field] for field in {*own} & {*OWN_OUTPUT}})
    key = f"{name}/{index}"  # also what an item without a seed gets its seed from
    whole = {"idempotency_key": key, "output": output, "dry_run": batch.dry_run}
    scratch = context.scratch / str(index)
    scratch.mkdir()
    inner = Context(context.runtime, context.reporter, scratch, resume=None)
    return Part(index, item.model_copy(update=whole), inner)


@contextmanager
def _folder_of(batch: Batch, asked: str, name: str, context: Context) -> Iterator[Folder]:
    """Open the folder of a batch. One that is stopped keeps it once work has begun."""
    settings, reporter = context.runtime.settings, context.reporter
    identity = Identity(asked, {}, engine="", encoder="", seed=None, platform="")
    # no more than was said: an item that is read again may not say what is the batch's
    wire = batch.model_dump_json(exclude_unset=True)
    wait = reporter.wait if context.runtime.serving else None
    with open_folder(settings.jobs, name, identity, wire, wait=wait) as folder:
        reporter.keep_alive(folder.renew)
        if not folder.noted("items"):
            folder.note(items=len(batch.items))
        try:
            yield folder
        except TalkheadError as error:
            if any(entry.get("phase") != "plan" for entry in folder.noted("item")):
                error.job_id = name
            else:
                folder.remove()
            raise


def _committed(manifest: Path) -> int:
    """Return how many states and files an item's job folder holds."""
    entries, _ = manifest_entries(manifest.read_bytes() if manifest.exists() else b"")
    return sum("state" in entry or "made" in entry for entry in entries)


def _planned(part: Part, look: Survey, request: Job, context: Context) -> Result | None:
    """Return what is stored of a finished item; else plan it, and return nothing."""
    sent = intake.sent_digest(request)
    if known := deliver.repeated(request, sent, context.runtime):
        intake.forget(request.idempotency_key or "", known, context)
        return known
    if isinstance(request, Talk):
        plan = look(request, context).plan
        part.frames, part.seconds = plan.frames, plan.seconds
    return None


def _unplanned(request: Job, _context: Context) -> Result:
    """Return the plan of an item that is one step."""
    message = f"{request.action} has no plan: it is one step"
    notice = Notice(code="W_PLAN", message=message)
    return Result(action=request.action, version=__version__, warnings=(notice,))


def _forget_inputs(part: Part) -> None:
    """Delete what was fetched for an item; it is fetched again when its turn comes."""
    part.context.fetched.clear()
    shutil.rmtree(part.context.scratch, ignore_errors=True)
    part.context.scratch.mkdir()


def _failed(part: Part, error: TalkheadError, context: Context) -> ItemEnd:
    """Return the end of an item that failed, without secrets, its fields named as in the batch."""
    if _log.hasHandlers():  # a command line has none, and shows what comes back
        _log.warning("%s failed: %s", part.request.idempotency_key, error, exc_info=error)
    redact = Redactor(secrets_in(context.runtime.settings)).text
    message = error.message
    paths = {path: _within_batch(part.index, path) for path in error.fields}
    if named := next((path for path in paths if message.startswith(f"{path}: ")), ""):
        message = paths[named] + message.removeprefix(named)
    wire: dict[str, Any] = error.to_dict()
    wire |= {"message": redact(message), "hint": redact(error.hint), "fields": [*paths.values()]}
    return ItemEnd(index=part.index, error=Error.model_validate(wire))


def _within_batch(index: int, path: str) -> str:
    """Return the path in the batch of a path in an item."""
    first, _, second = path.partition(".")
    whole = first in WHOLE or (first == "output" and second not in OWN_OUTPUT)
    return path if whole else f"items.{index}.{path}"


def _inlined(part: Part, room: float, context: Context) -> float:
    """Return the bytes of files in an item's result; where they are over `room`, take them out.

    All items share what one answer may hold.
    """
    result = part.end.result if part.end else None
    if result is None or not (used := sum(map(_weight, result.outputs))):
        return 0.0
    if used <= room:
        return used
    message = "this item's files would be more than the answer may still hold"
    if any(made.data is None and _weight(made) for made in result.outputs):  # no other way to them
        error = TalkheadError(
            Code.STORE, message, "configure a store that makes URLs, or send smaller batches"
        )
        part.end = _failed(part, error, context)
        return 0.0
    notice = Notice(code="W_NOT_INLINE", field="output.inline", message=message)
    bare = tuple(made.model_copy(update={"data": None}) for made in result.outputs)
    update = {"outputs": bare, "warnings": (*result.warnings, notice)}
    part.end = ItemEnd(index=part.index, result=result.model_copy(update=update))
    return 0.0


def _weight(made: Made) -> int:
    """Return the bytes of a file that travels in the answer, 0 for one that does not."""
    return made.bytes if made.data is not None or (made.url or "").startswith("data:") else 0


def _result(batch: Batch, name: str, parts: list[Part], context: Context) -> Result:
    """Return the ends of all items as the result of the batch."""
    ends = tuple(part.end for part in parts if part.end is not None)
    repeated = all(end.result is not None and end.result.repeated for end in ends)
    price = None if repeated else context.runtime.settings.price_per_hour
    return Result(
        action=batch.action,
        version=__version__,
        job_id=None if batch.dry_run else name,
        sent_digest=intake.sent_digest(batch),
        seconds=dict(context.reporter.seconds),
        items=ends,
        total=_total(ends),
        cost=cost_of(context.reporter.passed_s, price),
        repeated=repeated,
    )


def _foretold(batch: Batch, result: Result, context: Context) -> Result:
    """Return the answer to a dry run with what its plans come to: time over, and cost."""
    seconds = result.total.estimated_seconds if result.total else 0.0
    late = survey.too_late(batch, seconds, context.reporter.passed_s)
    cost = cost_of(seconds, context.runtime.settings.price_per_hour, estimated=True)
    return result.model_copy(update={"warnings": tuple(late), "cost": cost})


def _late(batch: Batch, parts: list[Part], context: Context) -> list[Notice]:
    """Return a notice where the items will probably end too late, and tell so at once."""
    needed = sum(part.seconds for part in parts if part.end is None)
    found = survey.too_late(batch, needed, context.reporter.passed_s)
    for notice in found:
        context.reporter.late(notice.message)
    return found


def _total(ends: tuple[ItemEnd, ...]) -> Total:
    plans = [end.result.plan for end in ends if end.result and end.result.plan]
    return Total(
        items=len(ends),
        failed=sum(end.error is not None for end in ends),
        frames=sum(plan.frames for plan in plans),
        seconds=round(sum(plan.seconds for plan in plans), 3),
        estimated=any(plan.estimated for plan in plans),
        estimated_seconds=round(sum(plan.estimated_seconds for plan in plans), 1),
        estimated_memory_mb=max((plan.estimated_memory_mb for plan in plans), default=0),
    )
