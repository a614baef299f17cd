"""The last step of every job: files to the store, and `result.json` after all of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from talkhead import __version__, survey
from talkhead.errors import Code, TalkheadError
from talkhead.folder import file_digest
from talkhead.intake import Context
from talkhead.media.face import annotate
from talkhead.request import Output
from talkhead.result import Made, Notice, Result
from talkhead.runtime import Runtime
from talkhead.survey import Work

MIMES = {
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class Ready:
    """A finished file on its way to the store."""

    kind: Literal["video", "thumbnail", "audio", "image", "file"]
    file: Path
    name: str  # the last part of its key
    facts: dict[str, Any] = field(default_factory=dict)


def refuse_unserved(output: Output) -> None:
    """Raise E_UNSUPPORTED for ways of delivery that nothing here serves, before any work."""
    asked = {
        "output.store": output.store not in ("default", "local"),
        "output.stream": output.stream,
        "output.inline": output.inline,
    }
    if fields := [field for field, wanted in asked.items() if wanted]:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"{', '.join(fields)}: not available in this version",
            "results go to the default store, as files",
            fields=fields,
        )


def deliver(result: Result, ready: Sequence[Ready], output: Output, runtime: Runtime) -> Result:
    """Store the files and then the result itself; return it with URLs."""
    made = tuple(_put(item, result.job_id or "", output, runtime) for item in ready)
    result = result.model_copy(update={"outputs": made})
    record = ready[0].file.with_name(".result.json")
    record.write_text(result.model_dump_json(indent=2))
    runtime.store.put(record, _key(output, result.job_id or "", "result.json"))
    return with_urls(result, output, runtime)


def dry_run(work: Work, context: Context) -> Result:
    """Answer with the plan alone; where asked for, with a picture of the faces found."""
    output = work.request.output
    result = Result(
        action=work.request.action,
        version=__version__,
        engine=work.plan.engine,
        plan=survey.report(work),
        seconds=dict(context.reporter.seconds),
        warnings=tuple(survey.notices(work)),
    )
    if work.view.original is None:
        return result
    file = context.scratch / "faces.png"
    Image.fromarray(annotate(work.view.original, work.view.found)).save(file)
    made = _put(
        Ready("image", file, main_name(output, "faces", ".png")), "", output, context.runtime
    )
    return with_urls(result.model_copy(update={"outputs": (made,)}), output, context.runtime)


def known_result(job_id: str, digest: str, output: Output, runtime: Runtime) -> Result | None:
    """Return the stored result of the same job with fresh URLs, or None.

    Raises E_INPUT_VALIDATION where another request was finished under the same id.
    """
    saved = runtime.store.read(_key(output, job_id, "result.json"))
    if saved is None:
        return None
    result = Result.model_validate(json.loads(saved))
    if result.request_digest != digest:
        raise TalkheadError(
            Code.INPUT,
            f"{job_id!r} was already used for another request",
            "choose another idempotency_key, or send the first request unchanged",
            fields=["idempotency_key"],
        )
    kinds = {made.kind for made in result.outputs}
    lacks = [
        name
        for name, missing in (
            ("thumbnail", output.thumbnail and result.engine and "thumbnail" not in kinds),
            ("score", output.score and result.score is None),
        )
        if missing
    ]
    if lacks:
        message = f"answered from the finished job, which was made without {' and '.join(lacks)}"
        known = (*result.warnings, Notice(code="W_KNOWN", field="output", message=message))
        result = result.model_copy(update={"warnings": known})
    return with_urls(result, output, runtime)


def with_urls(result: Result, output: Output, runtime: Runtime) -> Result:
    """Return the result with a fresh URL on every output, unless the caller wants none."""
    if output.url == "none":
        return result
    made = tuple(
        item.model_copy(update={"url": runtime.store.url(item.key, output.expires_s)})
        for item in result.outputs
    )
    return result.model_copy(update={"outputs": made})


def main_name(output: Output, default: str, suffix: str) -> str:
    """Return the last part of the main output's key."""
    return f"{(output.name or default).removesuffix(suffix)}{suffix}"


def _put(item: Ready, job_id: str, output: Output, runtime: Runtime) -> Made:
    key = _key(output, job_id, item.name)
    made = Made(
        kind=item.kind,
        key=key,
        mime=MIMES.get(item.file.suffix, "application/octet-stream"),
        bytes=item.file.stat().st_size,
        sha256=file_digest(item.file),
        facts=item.facts,
    )
    runtime.store.put(item.file, key)
    return made


def _key(output: Output, job_id: str, last: str) -> str:
    return "/".join(part for part in (output.prefix.strip("/"), job_id, last) if part)
