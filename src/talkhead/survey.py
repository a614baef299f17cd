"""Probe and plan: what a request amounts to, found out cheaply before anything heavy runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from talkhead.engines import Engine, Fitting, Plan, Probe, Spec
from talkhead.errors import Code, TalkheadError
from talkhead.intake import Files
from talkhead.media import speech
from talkhead.report import Reporter
from talkhead.request import Batch, Film, Talk
from talkhead.result import Notice, PlanReport
from talkhead.view import View, unsupported

LONGEST = 4 * 3600.0  # seconds of video in one job
# Scaling and encoding frames of another size than the engine's, per pixel; one chunk in memory.
SCALING_SECONDS, SCALING_BYTES = 18e-9, 100
CHARACTERS_PER_SECOND = 14.0  # of espeak at its own pace, English; an estimate until it has spoken


@dataclass(frozen=True, slots=True)
class Timeline:
    """When each speaker is heard, and how long the video is."""

    parts: tuple[speech.Part, ...]
    speech_seconds: float
    seconds: float  # of the video
    estimated: bool
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One request and all that is known of it before anything heavy runs."""

    request: Talk
    engine: Engine
    options: Any
    reason: str  # why this engine
    files: Files
    view: View
    timeline: Timeline
    plan: Plan
    ignored: tuple[Notice, ...]


def listen(request: Talk, files: Sequence[Path | None]) -> Timeline:
    """Measure each speaker's sound and lay all of it on one timeline.

    A speaker whose text has not been spoken yet (None) gets an estimated length.
    """
    notices: list[Notice] = []
    lengths: list[float] = []
    for index, (speaker, path) in enumerate(zip(request.speakers, files, strict=True)):
        if path is None:
            lengths.append(len(speaker.text or "") / CHARACTERS_PER_SECOND / speaker.speed)
        else:
            lengths.append(speech.probe_audio(path, f"speakers.{index}.audio").seconds)
    parts, total = speech.arrange(
        lengths,
        request.turns,
        [speaker.start for speaker in request.speakers],
        [speaker.end for speaker in request.speakers],
    )
    if max(total, request.duration or 0) > LONGEST:
        raise TalkheadError(
            Code.INPUT,
            f"the video would last {max(total, request.duration or 0):.0f} s",
            f"a job makes at most {LONGEST:.0f} s: check start, end and duration, or split it",
            fields=["speakers"],
        )
    estimated = any(path is None for path in files)
    seconds = _video_seconds(request, total, estimated, notices)
    return Timeline(tuple(parts), total, seconds, estimated, tuple(notices))


def probe(request: Talk, view: View, timeline: Timeline, spec: Spec, options: Any) -> Probe:
    """Return what an engine needs to know in order to plan."""
    rate = request.fps or spec.fps
    low, high = spec.fps_range
    if not low <= rate <= high:
        raise TalkheadError(
            Code.INPUT,
            f"fps: {spec.name} makes {low} to {high} frames per second, not {rate}",
            f"leave fps out for {spec.fps}",
            fields=["fps"],
        )
    height, width = view.picture.shape[:2]
    frames = max(1, ceil(timeline.seconds * rate - 1e-6))
    if request.max_frames is not None:
        frames = min(frames, request.max_frames)
    return Probe(
        width=width,
        height=height,
        fps=rate,
        frames=frames,
        faces=view.faces,
        speech_seconds=min(timeline.speech_seconds, float(frames / rate)),
        estimated=timeline.estimated,
        options=options,
        speakers=len(request.speakers),
        source_fps=view.clip.fps if view.clip else None,
        sampling=request.sampling.model_dump(exclude={"seed"}, exclude_none=True),
        quality=request.quality,
        memory=Fitting(**request.memory.model_dump()),
    )


def planned(request: Talk, view: View, timeline: Timeline, engine: Engine, options: Any) -> Plan:
    """Return the engine's plan, with the cost of scaling its frames to another size."""
    plan = engine.plan(probe(request, view, timeline, engine.spec, options))
    if (plan.width, plan.height) == view.size:
        return plan
    pixels = view.width * view.height
    return replace(
        plan,
        seconds=plan.seconds + SCALING_SECONDS * pixels * plan.frames,
        memory_bytes=plan.memory_bytes + SCALING_BYTES * pixels,
    )


def retimed(work: Work, sounds: Sequence[Path], reporter: Reporter) -> Work:
    """Return the work with exact lengths, once every text has been spoken."""
    if not work.timeline.estimated:
        return work
    timeline = listen(work.request, sounds)
    plan = planned(work.request, work.view, timeline, work.engine, work.options)
    reporter.plan(plan.seconds, len(plan.segments))
    return replace(work, timeline=timeline, plan=plan)


def report(work: Work) -> PlanReport:
    """Return the plan as a caller sees it."""
    plan, view, timeline = work.plan, work.view, work.timeline
    return PlanReport(
        engine=plan.engine,
        engine_reason=work.reason,
        width=view.width,
        height=view.height,
        work_width=plan.width,
        work_height=plan.height,
        fps=str(plan.fps),
        frames=plan.frames,
        seconds=round(float(plan.frames / plan.fps), 3),
        speech_seconds=round(timeline.speech_seconds, 3),
        estimated=plan.estimated,
        segments=len(plan.segments),
        estimated_seconds=round(plan.seconds, 1),
        estimated_memory_mb=round(plan.memory_bytes / 1e6),
        faces=view.reported,
    )


def unserved(request: Talk, spec: Spec, isolates: bool) -> tuple[Notice, ...]:
    """Raise E_UNSUPPORTED for what the engine cannot do; return notices for what it ignores.

    `isolates` says whether this installation can take music and noise away.
    """
    if request.video is not None and not spec.accepts_video:
        raise unsupported(spec, "video", "takes a still portrait, not a video")
    if len(request.speakers) > spec.max_speakers:
        raise unsupported(spec, "speakers", f"takes at most {spec.max_speakers} speakers")
    wanted = {speaker.isolate_vocals for speaker in request.speakers}
    if True in wanted and not isolates:
        raise TalkheadError(
            Code.UNSUPPORTED,
            "speakers: isolate_vocals is true, but vocal isolation is not installed",
            "leave it out or set it to auto; the operator can register an isolator, see "
            "docs/contract.md",
            fields=["speakers"],
        )
    unused = [] if spec.weights else _unused(request)
    notices = [
        Notice(code="W_IGNORED", field=name, message=f"the {spec.name} engine does not use {name}")
        for name in unused
    ]
    if "auto" in wanted and not isolates:
        message = "music and noise stay in the speech: vocal isolation is not installed"
        notices.append(Notice(code="W_NOT_ISOLATED", field="speakers", message=message))
    return tuple(notices)


def notices(work: Work) -> list[Notice]:
    """Return all that a caller should know about the plan."""
    plan, timeline = work.plan, work.timeline
    found = [*work.ignored, *work.view.notices, *timeline.notices]
    found += _last_picture(work.request, work.view, plan)
    found += _frame_limit(work.request, timeline, plan)
    return found + [Notice(code="W_PLAN", message=message) for message in plan.warnings]


def late(work: Work, passed_s: float, done: int = 0) -> list[Notice]:
    """Return a notice where the estimate passes the deadline; raise E_TIMEOUT if `late` says so.

    `passed_s` seconds of the deadline are over; `done` frames need not be made again. A dry run
    is never refused.
    """
    return too_late(work.request, work.plan.seconds * (1 - done / work.plan.frames), passed_s)


def too_late(request: Film | Batch, needed: float, passed_s: float) -> list[Notice]:
    """Return a notice where `needed` seconds of work pass the deadline; raise as `late` does."""
    if request.deadline_s is None or passed_s + needed <= request.deadline_s:
        return []
    left = max(request.deadline_s - passed_s, 0)
    message = (
        f"about {needed:.1f} s of work are to do, and {left:.1f} s are left of the deadline of "
        f"{request.deadline_s:g} s"
    )
    if request.late == "refuse" and not request.dry_run:
        raise TalkheadError(
            Code.TIMEOUT,
            message,
            "set a later deadline_s, ask for a smaller size or a faster quality, or try it all the "
            "same with late: warn",
            fields=["deadline_s"],
            retryable=False,
        )
    return [Notice(code="W_DEADLINE", field="deadline_s", message=message)]


def _unused(request: Talk) -> list[str]:
    """Return the diffusion settings that a request sets; an engine without weights has none."""
    steps = request.sampling.model_dump(exclude={"seed"}, exclude_none=True)
    fields = [f"sampling.{name}" for name in steps]
    fields += [name for name in ("prompt", "negative_prompt") if getattr(request, name)]
    for name in ("quality", "memory"):
        if getattr(request, name) != type(request).model_fields[name].default:
            fields.append(name)
    return fields


def _video_seconds(request: Talk, total: float, estimated: bool, notices: list[Notice]) -> float:
    """Return the video's length, with a notice where the request wants another than the speech."""
    wanted = request.duration
    if wanted is None or abs(wanted - total) < 0.04 or estimated:
        return wanted or total
    tail = "the rest is silent" if wanted > total else "the speech is cut off"
    message = f"the video lasts {wanted:.2f} s but the speech {total:.2f} s: {tail}"
    notices.append(Notice(code="W_DURATION", field="duration", message=message))
    return wanted


def _last_picture(request: Talk, view: View, plan: Plan) -> list[Notice]:
    """Return a notice where a source video ends before the engine is done with it."""
    clip, until = view.clip, max(plan.moments, default=0.0)
    if clip is None or clip.seconds is None or until < clip.seconds:
        return []
    message = f"the source lasts {clip.seconds:.2f} s; its last picture stays until the end"
    return [Notice(code="W_SOURCE", field=request.face_source[0], message=message)]


def _frame_limit(request: Talk, timeline: Timeline, plan: Plan) -> list[Notice]:
    """Return a notice where max_frames cuts the speech off."""
    shown = float(plan.frames / plan.fps)
    if request.max_frames is None or shown > timeline.seconds - 1e-6:
        return []
    message = f"max_frames ends the video at {shown:.2f} s of {timeline.speech_seconds:.2f} s"
    return [Notice(code="W_DURATION", field="max_frames", message=message)]
