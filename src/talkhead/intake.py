"""What a job starts with: its files, its seed, its identity and its folder."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from talkhead import jobs
from talkhead.engines import Spec
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder, Identity, digest, file_digest, open_folder, this_platform
from talkhead.media import fetch
from talkhead.media.fetch import Kind, Places, Wanted
from talkhead.media.segments import Encoding
from talkhead.mirror import Mirror
from talkhead.report import Reporter
from talkhead.request import Job, Talk
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.stores import Shelf, Tick

# What does not change the frames, and so is no part of a job's identity.
OUTSIDE = {"output", "priority", "deadline_s", "late", "dry_run", "idempotency_key"}
# What names a file, and what the file should be: its bytes count, not its name.
REFERENCES: dict[str, Kind] = {
    "portrait": "image",
    "video": "video",
    "source": "media",
    "audio": "audio",
    "sample": "audio",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What every step of one job may use."""

    runtime: Runtime
    reporter: Reporter
    scratch: Path  # deleted at the end of the run
    resume: str | None  # an unfinished job asked for by its id
    # by field: files that are here, which are not fetched again
    fetched: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """What a request's references led to."""

    picture: Path
    audio: tuple[Path | None, ...]  # for each speaker; None where a text is to be spoken
    samples: tuple[Path | None, ...]  # for each speaker; a voice to clone
    digests: Mapping[str, str]  # field to sha256 of the bytes


def fetch_files(request: Talk, context: Context) -> Files:
    """Bring every file that a request names to this machine."""
    field, ref = request.face_source
    fields: dict[str, str | None] = {field: ref}
    for index, speaker in enumerate(request.speakers):
        fields[f"speakers.{index}.audio"] = speaker.audio
        fields[f"speakers.{index}.sample"] = speaker.sample
    found = fetch_all(fields, context)
    count = range(len(request.speakers))
    return Files(
        picture=found[field],
        audio=tuple(found.get(f"speakers.{index}.audio") for index in count),
        samples=tuple(found.get(f"speakers.{index}.sample") for index in count),
        digests=digests(found),
    )


def fetch_all(fields: Mapping[str, str | None], context: Context) -> dict[str, Path]:
    """Return a local file for each field that is set."""
    runtime, settings = context.runtime, context.runtime.settings
    places = Places(
        local_paths=runtime.local_paths,
        library=settings.library,
        volumes=settings.volumes,
        store=partial(_get, runtime),
        readable=settings.readable,
        fetching=settings.fetch,
    )
    wanted = {
        field: Wanted(ref, REFERENCES[field.rpartition(".")[2]])
        for field, ref in fields.items()
        if ref is not None and field not in context.fetched
    }
    found = fetch.fetch_all(wanted, context.scratch, places, context.reporter.tick)
    context.fetched.update(found)
    return {field: context.fetched[field] for field, ref in fields.items() if ref is not None}


def _get(runtime: Runtime, key: str, into: Path, limit: int, tick: Tick) -> bool:
    """Read from the default store, which is opened only once something asks for it."""
    return runtime.source().get(key, into, limit, tick)


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the sha256 of each file."""
    return {field: file_digest(path) for field, path in files.items()}


def sent_digest(request: Job) -> str:
    """Return the digest of a request as it was sent, without what changes no frame."""
    return digest(request.model_dump(mode="json", exclude=OUTSIDE))


def settle_seed(request: Talk, context: Context) -> Talk:
    """Return the request with a seed: its own, the resumed job's, its key's, or a random one."""
    seed = request.sampling.seed
    if context.resume is not None and seed in (None, -1):
        saved = jobs.saved_request(context.runtime.settings.jobs, context.resume)
        seed = saved["sampling"]["seed"] if saved else None
    if seed in (None, -1) and request.idempotency_key is not None:
        # the same key has to mean the same frames, now and after any crash
        seed = int(digest(request.idempotency_key)[:13], 16)
    if seed in (None, -1):
        seed = random.SystemRandom().randrange(2**53)  # what JSON keeps in every language
    sampling = request.sampling.model_copy(update={"seed": seed})
    return request.model_copy(update={"sampling": sampling})


def identify(
    request: Job,
    inputs: Mapping[str, str],
    engine: Spec | None,
    context: Context,
    weights: str = "",
) -> Identity:
    """Return what must agree for this job to be the one in a folder or a store.

    `weights` is a fingerprint of those that the engine will use.
    """
    wire = request.model_dump(mode="json", exclude=OUTSIDE)
    options = wire.pop("options", None)  # an engine's own names, whatever they are
    for speaker in (wire, *wire.get("speakers", ())):
        if speaker.get("text") and not speaker["voice"]:
            speaker["voice"] = context.runtime.settings.voice
    seed = wire.get("sampling", {}).pop("seed", None)  # named on its own where it differs
    made_by = [engine.name, engine.version, weights] if engine else []
    return Identity(
        request=digest([_without_references(wire), options]),
        inputs=dict(inputs),
        engine=" ".join(made_by).strip(),
        encoder=digest(asdict(Encoding())),
        seed=seed,
        platform=this_platform(),
    )


def job_id(request: Job, identity: Identity, context: Context) -> str:
    """Return the id of a job: the one to resume, its key, or what its content gives."""
    if context.resume is None:
        return request.idempotency_key or identity.digest[:16]
    return resumed(context.resume, context)


def resumed(name: str, context: Context) -> str:
    """Return the id of an unfinished job, or raise E_INPUT_VALIDATION where there is none."""
    if jobs.saved_request(context.runtime.settings.jobs, name) is None:
        raise unknown_job(name)
    return name


def unknown_job(name: str) -> TalkheadError:
    """Return the error for a job that cannot be resumed."""
    return TalkheadError(
        Code.INPUT,
        f"there is no unfinished job {name!r}",
        "`talkhead jobs list` shows those that can be resumed",
    )


@contextmanager
def folder_of(request: Job, identity: Identity, name: str, context: Context) -> Iterator[Folder]:
    """Open the job's folder, and put the job's id on every error after which it can go on.

    A job that can never succeed, and has nothing to show, leaves no folder behind. A server waits
    for a folder that another worker holds: the platform gives out a lost worker's job at once.
    """
    settings, wire = context.runtime.settings, request.model_dump_json()
    reporter, mirror = context.reporter, _mirror(name, context.runtime)
    wait = reporter.wait if context.runtime.serving else None
    with open_folder(settings.jobs, name, identity, wire, mirror, wait) as folder:
        reporter.keep_alive(folder.renew)
        try:
            yield folder
        except TalkheadError as error:
            goes_on = error.retryable and (folder.finished or isinstance(request, Talk))
            if folder.segments or goes_on:
                error.job_id = name
            else:
                folder.remove()
            raise


def forget(name: str, result: Result, context: Context) -> None:
    """Delete what a kill left of a job whose result is known: its folder and its copy."""
    with suppress(OSError):  # cleaning up never replaces a result
        mirror = _mirror(name, context.runtime)
        if jobs.forget(context.runtime.settings.jobs, name, result.request_digest) and mirror:
            mirror.remove()


def _mirror(name: str, runtime: Runtime) -> Mirror | None:
    if not runtime.settings.mirror:
        return None
    # in the operator's own store, wherever the result goes: it is read back
    return Mirror(Shelf("default", runtime.source(), runtime.settings.store.prefix), name)


def _without_references(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_references(v) for k, v in value.items() if k not in REFERENCES}
    if isinstance(value, list):
        return [_without_references(item) for item in value]
    return value
