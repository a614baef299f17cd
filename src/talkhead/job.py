"""The main path: one request in, one result out. Every step is called from here.

    fetch -> probe -> plan -> prepare -> render -> assemble -> check -> store

By action a job takes one of four flows: `render` (frames to a video), `speak` (text to a WAV),
`draw` (a portrait) and `workflow` (an external graph). They share fetching, the job folder, the
store and the result. A batch takes each of its items through one of them (`batch.py`).
"""

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from talkhead import (
    __version__,
    batch,
    deliver,
    intake,
    jobs,
    lease,
    prepare,
    rendering,
    streaming,
    survey,
    uploads,
    view,
)
from talkhead.deliver import Ready
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder, Identity, digest
from talkhead.intake import Context
from talkhead.report import Report, Reporter, naming
from talkhead.request import (
    Animate,
    Batch,
    Capabilities,
    Health,
    Job,
    Portrait,
    Request,
    Size,
    Speak,
    Speaker,
    Talk,
    Uploads,
)
from talkhead.result import Cost, Notice, Progress, Result, Resumed, cost_of
from talkhead.runtime import Runtime


def ignore(progress: Progress) -> None:
    """Take progress and do nothing with it."""


def run(
    request: Request,
    runtime: Runtime,
    report: Report = ignore,
    *,
    cancel: threading.Event | None = None,
    resume: str | None = None,
) -> Result:
    """Do what the request asks for. Raises TalkheadError only, and leaves no partial output.

    An interrupted job goes on by itself when the same request comes again with the same key or
    seed; `resume` names an unfinished job by its id instead. `cancel` stops the job at its next
    tick.
    """
    if isinstance(request, Health):
        tested = self_test(runtime) if request.self_test else {}
        return runtime.health().model_copy(update={"seconds": tested})
    if isinstance(request, Capabilities):
        return runtime.ability()
    if isinstance(request, Uploads):
        return uploads.places(request, runtime)
    reporter = Reporter(report, cancel, request.deadline_s)
    settings = runtime.settings
    given_up = None  # the job that this run leaves to be resumed: it is no later run's rubbish yet
    with naming(None):
        deliver.refuse_unserved(request, runtime)
        try:
            with jobs.scratch(settings.jobs) as scratch:
                reporter.keep_alive(partial(lease.renew, scratch))
                context = Context(runtime, reporter, scratch, resume)
                return FLOWS[request.action](request, context)
        except TalkheadError as error:
            given_up = error.job_id
            raise
        finally:
            with suppress(OSError):  # cleaning up never replaces a result or an error
                jobs.clean(settings.jobs, settings.keep_days, settings.keep_gb, given_up)


def render(request: Talk, context: Context) -> Result:
    """Make a portrait speak: files to a video."""
    stage, reporter = context.reporter.stage, context.reporter
    sent = intake.sent_digest(request)
    if known := _repeated(request, sent, context):
        return known
    work = _surveyed(request, context)
    if request.dry_run:
        return deliver.dry_run(work, context)
    request = intake.settle_seed(request, context)
    spec, made_of = work.engine.spec, work.plan.weights
    identity = intake.identify(request, work.files.digests, spec, context, made_of)
    job_id = intake.job_id(request, identity, context)
    if known := _known(request, job_id, identity, context):
        return known
    with intake.folder_of(request, identity, job_id, context) as folder:
        if folder.waited and (known := _known(request, job_id, identity, context)):
            folder.remove()
            return known
        with stage("prepare"):
            sounds = prepare.speak_texts(work, folder, context)
            work = survey.retimed(work, sounds, reporter)
            late = _late(work, folder, context)
            prepared = prepare.prepared(work, sounds, request.sampling.seed or 0, folder, context)
            rendering.write_sound(work, sounds, folder, reporter)
        resumed = len(folder.segments)
        notices = (*survey.notices(work), *late, *prepare.notices(prepared))
        with streaming.beside(work, folder, job_id, identity.asked, context) as stream:
            with stage("render"):
                rendering.render_segments(work, prepared, folder, reporter, stream.committed)
            with stage("assemble"):
                ready = rendering.assemble(work, folder)
            with stage("check"):
                ready, score = rendering.check(work, ready, folder, reporter)
            with stage("store"):
                streamed = stream.whole(reporter.tick)
                result = Result(
                    action=request.action,
                    version=__version__,
                    job_id=job_id,
                    request_digest=identity.asked,
                    sent_digest=sent,
                    engine=work.plan.engine,
                    seed=request.sampling.seed,
                    plan=survey.report(work),
                    segments=Resumed(total=len(work.plan.segments), resumed=resumed),
                    seconds=dict(reporter.seconds),
                    cost=_cost(context),
                    warnings=(*notices, *resumption(folder), *stream.notices()),
                    score=score,
                )
                result = deliver.deliver(result, ready, request.output, context.runtime, streamed)
        folder.remove()
    return _timed(result, context)


def _late(work: survey.Work, folder: Folder, context: Context) -> list[Notice]:
    """Return a notice where the job will probably end too late, and tell so at once."""
    done = sum(segment.frames for segment in folder.segments)
    found = survey.late(work, context.reporter.passed_s, done)
    for notice in found:
        context.reporter.late(notice.message)
    return found


def _cost(context: Context) -> Cost | None:
    return cost_of(context.reporter.passed_s, context.runtime.settings.price_per_hour)


def _timed(result: Result, context: Context) -> Result:
    """Return a result that this run has made, with what the whole of the run took."""
    taken = {"seconds": dict(context.reporter.seconds), "cost": _cost(context)}
    return result.model_copy(update=taken)


def resumption(folder: Folder) -> list[Notice]:
    """Return what a resumed folder had to say."""
    return [Notice(code="W_RESUMED", message=message) for message in folder.notices]


def speak(request: Speak, context: Context) -> Result:
    """Speak a text: words to a WAV."""
    return _one_step(request, {"sample": request.sample}, prepare.speak_alone, context)


def animate(request: Animate, context: Context) -> Result:
    """Put a portrait into a driving video. No engine of this version does it."""
    name, _ = context.runtime.choose(request.engine)
    spec = context.runtime.engine(name).spec
    raise TalkheadError(
        Code.UNSUPPORTED,
        f"action: the {spec.name} engine does not replace or animate people",
        "see `talkhead doctor` for what is installed",
        fields=["action"],
    )


def draw(request: Portrait, context: Context) -> Result:
    """Draw a portrait: words to a PNG."""
    context.runtime.maker("portrait", request.engine)  # a missing one is told before all else
    kept = prepare.library_place(request, context)
    return _one_step(request, {}, partial(prepare.draw, kept), context)


def workflow(request: Job, context: Context) -> Result:
    """Run an external graph: whatever files it makes."""
    return _one_step(request, {}, partial(prepare.make, "workflow"), context)


def several(request: Batch, context: Context) -> Result:
    """Do several requests, each by its own flow above: items to results and errors."""
    return batch.run(request, context, FLOWS, _surveyed)


def _surveyed(request: Talk, context: Context) -> survey.Work:
    """Fetch, probe and plan: all that is known before anything heavy runs."""
    stage, runtime = context.reporter.stage, context.runtime
    name, reason = runtime.choose(request.engine)
    engine, options = runtime.engine(name), runtime.options(name, request.options)
    isolates = any(s.isolate_vocals for s in request.speakers) and runtime.isolator() is not None
    ignored = survey.unserved(request, engine.spec, isolates)
    for speaker in request.speakers:
        if speaker.text is not None:
            runtime.voice(speaker.voice)  # a voice that is not installed is told before any work
    with stage("fetch"):
        files = intake.fetch_files(request, context)
    with stage("probe"):
        seen = view.look(request, files.picture, engine.spec)
        timeline = survey.listen(request, files.audio)
    with stage("plan"):
        plan = survey.planned(request, seen, timeline, engine, options)
        context.reporter.plan(plan.seconds, len(plan.segments))
    return survey.Work(request, engine, options, reason, files, seen, timeline, plan, ignored)


def _one_step(
    request: Job,
    references: Mapping[str, str | None],
    make: Callable[[Any, Mapping[str, Path], Folder, Context], list[Ready]],
    context: Context,
) -> Result:
    """Run a job whose whole work is one step that makes files in the job folder."""
    stage = context.reporter.stage
    if request.dry_run:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"dry_run: {request.action} has no plan",
            "leave dry_run out; it is for talk",
            fields=["dry_run"],
        )
    sent = intake.sent_digest(request)
    if known := _repeated(request, sent, context):
        return known
    with stage("fetch"):
        files = intake.fetch_all(references, context)
    identity = intake.identify(request, intake.digests(files), None, context)
    job_id = intake.job_id(request, identity, context)
    if known := _known(request, job_id, identity, context):
        return known
    with intake.folder_of(request, identity, job_id, context) as folder:
        if folder.waited and (known := _known(request, job_id, identity, context)):
            folder.remove()
            return known
        with stage("render"):
            ready = _made_once(request, folder, partial(make, request, files, folder, context))
        with stage("store"):
            result = Result(
                action=request.action,
                version=__version__,
                job_id=job_id,
                request_digest=identity.asked,
                sent_digest=sent,
                seconds=dict(context.reporter.seconds),
                cost=_cost(context),
                warnings=tuple(resumption(folder)),
            )
            result = deliver.deliver(result, ready, request.output, context.runtime)
        folder.remove()
    return _timed(result, context)


def _made_once(request: Job, folder: Folder, make: Callable[[], list[Ready]]) -> list[Ready]:
    """Return the files of a one-step job: those that an earlier run finished, or new ones."""
    output = digest(request.output.model_dump(mode="json"))
    if not (made := folder.made(output)):
        # `file` leads from the folder, which may lie elsewhere on the next host
        made = [
            {**asdict(item), "file": os.path.relpath(item.file, folder.path)} for item in make()
        ]
        folder.commit_made(output, made)
    return [
        Ready(item["kind"], folder.path / item["file"], item["name"], item["facts"])
        for item in made
    ]


def _repeated(request: Job, sent: str, context: Context) -> Result | None:
    known = deliver.repeated(request, sent, context.runtime)
    if known:
        intake.forget(request.idempotency_key or "", known, context)
    return known


def _known(request: Job, job_id: str, identity: Identity, context: Context) -> Result | None:
    known = deliver.known_result(job_id, identity.asked, request.output, context.runtime)
    if known:
        intake.forget(job_id, known, context)
    return known


def self_test(runtime: Runtime) -> dict[str, float]:
    """Render one second on the draft engine, aside from all else; return its seconds by stage."""
    request = Talk(
        portrait="library:astronaut.png",
        speakers=(Speaker(audio="library:librivox.flac"),),
        engine="draft",
        size=Size(width=256, height=256),
        fit="face",
        duration=1,
    )
    with tempfile.TemporaryDirectory(prefix="talkhead-") as folder:
        return run(request, runtime.aside(Path(folder))).seconds


FLOWS: dict[str, Callable[[Any, Context], Result]] = {
    "talk": render,
    "animate": animate,
    "speak": speak,
    "batch": several,
    "portrait": draw,
    "workflow": workflow,
}
