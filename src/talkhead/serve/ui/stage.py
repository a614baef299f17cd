"""What stands beside the form: plan, progress, video, result. Components and their updates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve import replies
from talkhead.serve.client import FINAL, Client
from talkhead.serve.ui import html, telling
from talkhead.serve.ui.form import CLICKS
from talkhead.serve.ui.site import Site

Json = dict[str, Any]
Updates = dict[Any, Any]

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The components beside the form, and what they remember."""

    screen: Any  # the video, or where it will be
    board: Any  # progress, or what went wrong
    announce: Any  # for screen readers
    sheet: Any  # what belongs to a finished video
    draft: Any
    planning: Any  # the column of plan and faces
    plan: Any
    speaker: Any  # who gets the face that is clicked
    faces: Any
    clear: Any  # the boxes
    price: Any
    cancel: Any
    retry: Any
    again: Any  # use these settings again
    timer: Any
    job: Any  # state: id, payload, what is shown
    kept: Any  # the job's id, in the browser
    found: Any  # state: the last plan with the picture's faces


def create() -> Stage:
    """Lay out the stage, and return its components."""
    announce = gr.HTML("", elem_id="th-announce")
    screen = gr.HTML(html.empty("Your video will be here."), elem_id="th-screen")
    board = gr.HTML("", elem_id="th-board")
    with gr.Row(elem_id="th-acts"):
        cancel = gr.Button("Cancel", visible=False, elem_id="th-cancel")
        retry = gr.Button("Try again", visible=False, elem_id="th-retry")
        again = gr.Button("Use these settings again", visible=False, elem_id="th-again")
    sheet = gr.HTML("", elem_id="th-sheet")
    draft = gr.HTML("", elem_id="th-draft")
    with gr.Column(elem_id="th-planning") as planning:
        speaker, faces, clear, plan, price = _planning()
    return Stage(
        screen, board, announce, sheet, draft, planning, plan, speaker, faces, clear, price, cancel,
        retry, again, gr.Timer(TICK_S, active=False), gr.State({}),
        in_browser("", "job"), gr.State({}),
    )  # fmt: skip


def nothing() -> Updates:
    """Return that nothing changes: an empty dict is to Gradio a lack of values."""
    return dict(gr.skip())


def in_browser(begin: Any, name: str) -> Any:
    """Return what outlives a reload: nothing secret, so that anyone may read it there."""
    return gr.BrowserState(begin, storage_key=f"talkhead-{name}", secret="talkhead")  # noqa: S106


def _planning() -> tuple[Any, ...]:
    speaker = gr.Radio(
        [("Speaker 1", 0), ("Speaker 2", 1)],
        value=0,
        label="Whose face? Click one, or two corners of a box of your own",
        visible=False,
        elem_id="th-whose",
    )
    faces = gr.HTML("", js_on_load=CLICKS, elem_id="th-faces")
    clear = gr.Button("Forget the chosen faces", visible=False, size="md")
    plan = gr.HTML("", elem_id="th-plan")
    price = gr.Number(
        None,
        label="GPU price per hour",
        info="To see what it costs; kept in this browser.",
        minimum=0,
        visible=False,
        elem_id="th-price",
    )
    return speaker, faces, clear, plan, price


def outputs(stage: Stage) -> list[Any]:
    """Return the components that change as a job goes on."""
    return [
        stage.job, stage.kept, stage.timer, stage.board, stage.screen, stage.sheet, stage.announce,
        stage.cancel, stage.retry, stage.again, stage.planning,
    ]  # fmt: skip


def looked(stage: Stage, site: Site, client: Client, job: Json) -> Updates:
    """Ask how a job is, and return what to show; a server that is away is waited for."""
    try:
        body = client.status(job["id"])
    except TalkheadError as error:
        if error.retryable:
            note = f"{telling.trouble(error).what} Still trying."
            return {stage.board: html.note(note, "bad"), stage.timer: gr.Timer(active=True)}
        return failed(stage, error) | {stage.job: {}, stage.kept: ""}
    if body.get("status") not in FINAL:
        return running(stage, site, client, job, body)
    try:
        made = replies.result(body)
        return finished(stage, site, client, {**job, "ended": True}, made)
    except TalkheadError as error:
        shown = failed(stage, error) | {stage.job: {**job, "ended": True, "status": "FAILED"}}
        return shown if job.get("windows") else shown | {stage.screen: ""}


def running(
    stage: Stage, site: Site, client: Client, job: Json, body: Mapping[str, Any]
) -> Updates:
    """Return what to show of a job that goes on."""
    now = telling.moment(body)
    shown: Updates = {
        stage.board: html.progress(now),
        stage.timer: gr.Timer(active=True),
        stage.cancel: gr.Button(visible=True),
        stage.planning: gr.Column(visible=False),
    }
    if now.spoken != job.get("said"):
        shown[stage.announce] = html.esc(now.spoken)
    windows = job.get("windows", 0)
    if now.windows > windows and job.get("partial", True):
        windows = now.windows
        if link := site.partial(client, job["id"], windows):
            player = html.video(link, label="The video so far", key=job["id"], playing=True)
            shown[stage.screen] = html.captioned(player, "The video so far")
    return shown | {stage.job: {**job, "said": now.spoken, "windows": windows}}


def finished(stage: Stage, site: Site, client: Client, job: Json, made: Json) -> Updates:
    """Return what to show of a job that went well."""
    player, sheet = shown_result(site, client, job["id"], job.get("payload"), made)
    return {
        stage.screen: player,
        stage.sheet: sheet,
        stage.board: "",
        stage.announce: "The video is ready.",
        stage.cancel: gr.Button(visible=False),
        stage.retry: gr.Button(visible=False),
        stage.again: gr.Button(visible=bool(job.get("payload"))),
        stage.planning: gr.Column(visible=False),
        stage.timer: gr.Timer(active=False),
        stage.job: {**job, "status": "COMPLETED", "seed": made.get("seed")},
    }


def shown_result(
    site: Site, client: Client, job_id: str, payload: Json | None, made: Json
) -> tuple[str, str]:
    """Return the player and the sheet of a result."""
    outputs = {item["kind"]: item for item in reversed(made.get("outputs") or ())}
    if "video" not in outputs:
        return html.empty("The job made no video."), html.settings(payload, made.get("seed"))
    link = site.link(client, outputs["video"])
    poster = site.link(client, outputs["thumbnail"]) if "thumbnail" in outputs else ""
    player = html.video(link, label="Your video", key=job_id, poster=poster)
    return player, html.result(made, payload, link, f"talkhead-{job_id[:8]}.mp4")


def failed(stage: Stage, error: TalkheadError) -> Updates:
    """Return what to show of something that went wrong."""
    found = telling.trouble(error)
    return {
        stage.board: html.trouble(found),
        stage.announce: "",
        stage.cancel: gr.Button(visible=False),
        stage.retry: gr.Button(visible=error.retryable),
        stage.planning: gr.Column(visible=False),
        stage.timer: gr.Timer(active=False),
    }
