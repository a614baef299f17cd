"""The last step of every job: files to the store, and `result.json` after all of them."""

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import ValidationError

from talkhead import __version__, playlists, survey
from talkhead.errors import Code, TalkheadError
from talkhead.folder import digest, file_digest
from talkhead.intake import Context
from talkhead.media.face import annotate
from talkhead.request import Job, Output
from talkhead.result import Made, Notice, Result, cost_of
from talkhead.runtime import Runtime
from talkhead.stores import Link, Shelf, gone
from talkhead.stores.keys import safe_part
from talkhead.stores.mimes import mime_of
from talkhead.survey import Work

RECORD = "result.json"
CLAIM = "job.json"  # whose keys these are; written before the first file


@dataclass(frozen=True, slots=True)
class Ready:
    """A finished file on its way to the store."""

    kind: Literal["video", "thumbnail", "audio", "image", "file"]
    file: Path
    name: str  # the last part of its key
    facts: dict[str, Any] = field(default_factory=dict)


def refuse_unserved(request: Job, runtime: Runtime) -> None:
    """Raise E_UNSUPPORTED for ways of delivery that nothing here serves, before any work."""
    output = request.output
    shelf = runtime.shelf(output.store)
    if output.url in ("signed", "public") and output.url not in shelf.store.offers:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"output.url: store {shelf.name!r} makes no {output.url} URLs",
            f"it makes: {', '.join(sorted(shelf.store.offers))}",
            fields=["output.url"],
        )
    if output.stream and (lack := _unstreamed(request, shelf)):
        raise TalkheadError(
            Code.UNSUPPORTED, f"output.stream: {lack[0]}", lack[1], fields=["output.stream"]
        )


def deliver(
    result: Result,
    ready: Sequence[Ready],
    output: Output,
    runtime: Runtime,
    stored: Sequence[Made] = (),
) -> Result:
    """Store the files and then the result itself; return it with URLs.

    `stored` is what the store holds already.
    Where another run of the same job was quicker, its result is the answer. Another job under the
    same key is refused before it has replaced anything.
    """
    shelf, job_id = runtime.shelf(output.store), result.job_id or ""
    request_digest = result.request_digest or ""
    if known := known_result(job_id, request_digest, output, runtime):
        return known
    scratch = ready[0].file.with_name(f".{RECORD}")
    if not runtime.local_paths:  # a command line has its job folder's lock
        _claim(scratch, key_of(shelf.prefix, output, job_id, CLAIM), request_digest, shelf)
    made = tuple(_put(item, job_id, output, shelf) for item in ready)
    result = result.model_copy(update={"outputs": (*made, *stored)})
    scratch.write_text(result.model_dump_json(indent=2))
    key = key_of(shelf.prefix, output, job_id, RECORD)
    if not _store(scratch, key, shelf, create=True):
        if known := known_result(job_id, request_digest, output, runtime):
            return known
        _store(scratch, key, shelf)  # what is there cannot be read, or its files are gone
    files = {item.key: source.file for item, source in zip(made, ready, strict=True)}
    return with_links(result, output, runtime, files)


def claim(
    job_id: str, request_digest: str, output: Output, runtime: Runtime, scratch: Path
) -> None:
    """Make a job's keys its own before it begins, or raise where they are another job's."""
    shelf = runtime.shelf(output.store)
    if not runtime.local_paths:  # a command line has its job folder's lock
        _claim(scratch / CLAIM, key_of(shelf.prefix, output, job_id, CLAIM), request_digest, shelf)


def keep_record(result: Result, output: Output, runtime: Runtime, scratch: Path) -> None:
    """Store the record of a batch, in place of that of an earlier run."""
    shelf, file = runtime.shelf(output.store), scratch / RECORD
    ends = [
        end.model_copy(update={"result": end.result and _bare(end.result)}) for end in result.items
    ]
    file.write_text(result.model_copy(update={"items": tuple(ends)}).model_dump_json(indent=2))
    _store(file, key_of(shelf.prefix, output, result.job_id or "", RECORD), shelf)


def _bare(result: Result) -> Result:
    """Return a result without what is made anew for each answer."""
    gone = {"url": None, "expires_at": None, "data": None}
    made = tuple(item.model_copy(update=gone) for item in result.outputs)
    return result.model_copy(update={"outputs": made})


def dry_run(work: Work, context: Context) -> Result:
    """Answer with the plan alone; where asked for, with a picture of the faces found."""
    output = work.request.output
    result = Result(
        action=work.request.action,
        version=__version__,
        engine=work.plan.engine,
        plan=survey.report(work),
        seconds=dict(context.reporter.seconds),
        cost=cost_of(work.plan.seconds, context.runtime.settings.price_per_hour, estimated=True),
        warnings=(*survey.notices(work), *survey.late(work, context.reporter.passed_s)),
    )
    if work.view.original is None:
        return result
    file = context.scratch / "faces.png"
    Image.fromarray(annotate(work.view.original, work.view.found)).save(file)
    ready = Ready("image", file, main_name(output, "faces", ".png"))
    key = work.request.idempotency_key or ""
    made = _put(ready, key, output, context.runtime.shelf(output.store))
    return with_links(
        result.model_copy(update={"outputs": (made,)}), output, context.runtime, {made.key: file}
    )


def repeated(request: Job, sent: str, runtime: Runtime) -> Result | None:
    """Return the stored result of a request that came before under the same key, or None.

    Nothing is fetched for it, so it works after the links to its inputs have expired. `sent` is
    the digest of the request as sent.
    """
    # a path of this machine names whatever lies there now, so a command line always looks
    if request.idempotency_key is None or runtime.local_paths or request.dry_run:
        return None
    result = _saved(request.idempotency_key, request.output, runtime)
    if (
        result is None
        or result.sent_digest != sent
        or not _is_there(result, request.output, runtime)
    ):
        return None
    return _answered(result, request.output, runtime)


def known_result(
    job_id: str, request_digest: str, output: Output, runtime: Runtime
) -> Result | None:
    """Return the stored result of the same job with fresh URLs, or None.

    Raises E_INPUT_VALIDATION where another request was finished under the same id.
    """
    result = _saved(job_id, output, runtime)
    if result is None:
        return None
    if result.request_digest != request_digest:
        raise _conflict(job_id)
    return _answered(result, output, runtime) if _is_there(result, output, runtime) else None


def with_links(
    result: Result, output: Output, runtime: Runtime, files: Mapping[str, Path] | None = None
) -> Result:
    """Return the result with fresh URLs, and with the main file's bytes where asked for.

    `files` are local copies by key; what is not there is read from the store.
    """
    shelf = runtime.shelf(output.store)
    made = tuple(_linked(item, output, shelf) for item in result.outputs)
    if not (output.inline and made):
        return result.model_copy(update={"outputs": made})
    main, limit = made[0], runtime.settings.inline_mb
    if main.bytes > limit * 1e6:
        message = f"{main.bytes / 1e6:.1f} MB is over the {limit:g} MB that an answer may hold"
        notice = Notice(code="W_NOT_INLINE", field="output.inline", message=message)
        return result.model_copy(update={"outputs": made, "warnings": (*result.warnings, notice)})
    if (main.url or "").startswith("data:"):  # the bytes are in the answer already
        return result.model_copy(update={"outputs": made})
    local = (files or {}).get(main.key)
    content = local.read_bytes() if local else shelf.store.read(main.key)
    if content is None:
        raise gone(main.key)
    main = main.model_copy(update={"data": base64.b64encode(content).decode()})
    return result.model_copy(update={"outputs": (main, *made[1:])})


def main_name(output: Output, default: str, suffix: str) -> str:
    """Return the last part of the main output's key."""
    return f"{safe_part((output.name or default).removesuffix(suffix))}{suffix}"


def key_of(prefix: str, output: Output, job_id: str, last: str) -> str:
    """Return the key of a job's file under an operator's prefix."""
    asked = "/".join(_part(part) for part in output.prefix.split("/") if part)
    parts = (prefix.strip("/"), asked, job_id, last)
    return "/".join(part for part in parts if part)


def _saved(job_id: str, output: Output, runtime: Runtime) -> Result | None:
    shelf = runtime.shelf(output.store)
    saved = shelf.store.read(key_of(shelf.prefix, output, job_id, RECORD))
    if saved is None:
        return None
    try:  # a newer version may have written it, with fields that this one does not know
        return Result.model_validate_json(saved, extra="ignore")
    except ValidationError:  # torn: as good as not there, and replaced at the end
        return None


def _is_there(result: Result, output: Output, runtime: Runtime) -> bool:
    """Return whether the main file of a stored result still is in its store."""
    store = runtime.shelf(output.store).store
    return bool(result.outputs) and store.size(result.outputs[0].key) == result.outputs[0].bytes


def _claim(scratch: Path, key: str, request_digest: str, shelf: Shelf) -> None:
    """Write down whose job these keys belong to, or raise where they are another one's."""
    claim = json.dumps({"request_digest": request_digest})
    scratch.write_text(claim)
    held = shelf.store.read(key)
    if held is None and not _store(scratch, key, shelf, create=True):
        held = shelf.store.read(key)
    if held is not None and held != claim.encode():
        raise _conflict(key.split("/")[-2])


def _conflict(job_id: str) -> TalkheadError:
    return TalkheadError(
        Code.INPUT,
        f"{job_id!r} was already used for another request",
        "choose another idempotency_key, or send the first request unchanged",
        fields=["idempotency_key"],
    )


def _answered(result: Result, output: Output, runtime: Runtime) -> Result:
    """Return a stored result with links, and with a notice of what it was made without."""
    kinds = {made.kind for made in result.outputs}
    lacks = [
        name
        for name, missing in (
            ("thumbnail", output.thumbnail and result.engine and "thumbnail" not in kinds),
            ("score", output.score and result.score is None),
            ("stream", output.stream and "stream" not in kinds),
        )
        if missing
    ]
    if lacks:
        message = f"answered from the finished job, which was made without {' and '.join(lacks)}"
        known = (*result.warnings, Notice(code="W_KNOWN", field="output", message=message))
        result = result.model_copy(update={"warnings": known})
    cost = result.cost and result.cost.model_copy(update={"repeated": True})
    result = result.model_copy(update={"repeated": True, "cost": cost})
    return with_links(result, output, runtime)


def kind_of_url(output: Output, shelf: Shelf) -> str:
    """Return which of the kinds of URL that a store offers a request means."""
    if output.url != "auto":
        return output.url
    return "public" if "public" in shelf.store.offers else "signed"


def _linked(item: Made, output: Output, shelf: Shelf) -> Made:
    if output.url == "none":
        return item
    kind = kind_of_url(output, shelf)
    link = shelf.store.link(item.key, kind, output.expires_s)
    if item.kind == "stream" and link.expires_at is not None:
        item, link = _signed_anew(item, kind, output, shelf)
    until = (
        link.expires_at.astimezone(UTC).isoformat(timespec="seconds") if link.expires_at else None
    )
    return item.model_copy(update={"url": link.url, "expires_at": until})


def _signed_anew(item: Made, kind: str, output: Output, shelf: Shelf) -> tuple[Made, Link]:
    """Store a stream's playlist with links that work from now on."""
    text = playlists.stored(shelf.store, item.key)
    if not playlists.names(text):
        raise gone(item.key)
    with tempfile.TemporaryDirectory(prefix="talkhead-") as scratch:
        found = playlists.publish(text, item.key, shelf, kind, output.expires_s, Path(scratch))
    return item.model_copy(update={"bytes": found.bytes, "sha256": found.sha256}), found.link


def _unstreamed(request: Job, shelf: Shelf) -> tuple[str, str] | None:
    """Return why a video cannot be watched while it is made, and what to do about it."""
    if request.action != "talk":
        return f"{request.action} makes no video in parts", "leave it out; it goes with talk"
    if request.output.url == "none":
        return "a player needs links, and url is none", "leave output.url out"
    if not shelf.store.serves:
        return (
            f"store {shelf.name!r} makes no URLs that a player could open",
            "use `talkhead serve`, or a store of kind s3 or supabase; of kind local with its base",
        )
    return None


def _put(item: Ready, job_id: str, output: Output, shelf: Shelf) -> Made:
    key = key_of(shelf.prefix, output, job_id, item.name)
    sha256 = file_digest(item.file)
    _store(item.file, key, shelf, sha256=sha256)
    return Made(
        kind=item.kind,
        key=key,
        mime=mime_of(item.file.name),
        bytes=item.file.stat().st_size,
        sha256=sha256,
        facts=item.facts,
    )


def _store(
    file: Path, key: str, shelf: Shelf, *, sha256: str | None = None, create: bool = False
) -> bool:
    sha256 = sha256 or file_digest(file)
    return shelf.store.put(file, key, mime=mime_of(file.name), sha256=sha256, create=create)


def _part(text: str) -> str:
    """Return a part of a caller's prefix as every service takes it; different ones stay so."""
    safe = safe_part(text)
    return safe if safe == text else f"{safe}-{digest(text)[:8]}"
