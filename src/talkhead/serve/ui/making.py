"""What happens on the page "Create": plan, faces, preview, make, follow, cancel, again."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from talkhead.errors import TalkheadError
from talkhead.serve.client import Client
from talkhead.serve.ui import asking, choosing, html, stage, telling
from talkhead.serve.ui.asking import Asked
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.site import Site, local
from talkhead.serve.ui.stage import Stage, Updates
from talkhead.serve.ui.turns import COUNT, Turns

Json = dict[str, Any]
Event = dict[str, Any]

# Quiet: no spinner over the form; `private`: none of it is an API.
QUIET: Json = {"show_progress": "hidden", "api_visibility": "private"}
RAW: Json = {"preprocess": False}  # files as they were dropped, not as Gradio would convert them


def wire(site: Site, form: Form, beside: Stage, place: Any, ability: Any) -> None:
    """Connect form and stage to the server."""
    _planning(site, form, beside, place, ability)
    choosing.wire(form, beside)
    _making(site, form, beside, place, ability)
    _hearing(site, form, place)


def _planning(site: Site, form: Form, beside: Stage, place: Any, ability: Any) -> None:
    def plan(
        place: Json, _: Json, job: Json, price: float | None, before: Json, *values: Any
    ) -> Updates:
        asked = asking.asked(values)
        return planned(site, beside, place, price, asked, before) | _room(beside, job)

    def by_itself(place: Json, known: Json, *rest: Any) -> Updates:
        if known.get("ours") or asking.asked(rest[3:]).missing:
            return plan(place, known, *rest)
        return {beside.plan: ""}  # a dry run would wake a GPU that costs money

    def newest(work: Callable[..., Updates]) -> Callable[..., Updates]:
        def shown(number: int, turns: Turns, *values: Any) -> Updates:
            found = work(*values) if turns.begin(number) else stage.nothing()
            return found if turns.holds(number) else stage.nothing()

        return shown

    known = [place, ability, beside.job, beside.price, beside.found, *form.inputs]
    inputs = [gr.Number(0, visible=False), gr.State(Turns()), *known]
    outputs = [
        beside.plan, beside.faces, beside.found, beside.price, beside.planning, beside.screen,
        beside.board, beside.retry, beside.draft,
    ]  # fmt: skip
    more: Json = {"js": COUNT, **QUIET, **RAW}
    gr.on(form.changes, newest(by_itself), inputs, outputs, trigger_mode="always_last", **more)
    form.plan.click(newest(plan), inputs, outputs, **more)
    beside.price.change(_plan_of, [beside.found, beside.price], beside.plan, **QUIET)


def _room(beside: Stage, job: Json) -> Updates:
    """Show the plan where no job is running; before the first job it has the whole stage."""
    if job.get("id") and not job.get("ended"):
        return {}
    shown: Updates = {
        beside.planning: gr.Column(visible=True),
        beside.board: "",  # what was wrong may be right now
        beside.draft: "",
        beside.retry: gr.Button(visible=False),
    }
    return shown if job.get("id") else shown | {beside.screen: ""}


def planned(
    site: Site, beside: Stage, place: Json, price: float | None, form: Asked, before: Json
) -> Updates:
    """Return the plan of a form, and its picture with faces; `before` is what was found before."""
    found: Json = {"picture": _picture_of(form)}
    if found["picture"] == before.get("picture"):
        found["faces"] = before.get("faces")  # still to be chosen, whatever is wrong now
    shown = html.empty(f"{form.missing} to see the plan.")
    if not form.missing:
        try:
            found |= _asked_for_plan(site, place, form)
            shown = _plan_of(found, price)
        except TalkheadError as error:
            shown = html.trouble(telling.trouble(error))
    return {
        beside.plan: shown,
        beside.found: found,
        beside.faces: choosing.drawn(found, form),
        beside.price: gr.Number(visible=_costs(found)),
    }


def _asked_for_plan(site: Site, place: Json, form: Asked) -> Json:
    with site.open(place) as client:
        wanted = asking.payload(form, lambda file: site.refer(client, file))
        made = client.runsync(asking.planned(wanted))
    plan = made.get("plan") or {}
    return {
        "plan": plan,
        "faces": plan.get("faces"),
        "warnings": made.get("warnings"),
        "cost": made.get("cost"),
    }


def _plan_of(found: Json, price: float | None) -> str:
    if not found.get("plan"):
        return ""
    warnings = telling.warnings(found.get("warnings") or ())
    own = price if _costs(found) else None
    return html.plan(telling.plan(found["plan"], own, found.get("cost")), warnings)


def _costs(found: Json) -> bool:
    """Return whether a GPU is asked for: the draft engine needs none."""
    return str((found.get("plan") or {}).get("engine", "draft")) != "draft"


def _picture_of(form: Asked) -> Json | None:
    """Return the portrait's link and its size upright, or None where it cannot be read."""
    if form.kind == "video" or not form.portrait:
        return None
    path = str(form.portrait["path"])
    try:
        with Image.open(path) as picture:
            width, height = ImageOps.exif_transpose(picture).size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # what it is, the server says
    return {"link": local(path), "size": (width, height)}


def _making(site: Site, form: Form, beside: Stage, place: Any, ability: Any) -> None:
    """Connect the buttons that start, follow and end a job."""
    outputs = stage.outputs(beside)

    def make(place: Json, ability: Json, *values: Any) -> Updates:
        def work(client: Client) -> Updates:
            wanted = asking.payload(asking.asked(values), lambda file: site.refer(client, file))
            return started(beside, client, wanted, ability)

        return _tried(site, beside, place, work)

    def retry(place: Json, ability: Json, job: Json) -> Updates:
        def work(client: Client) -> Updates:
            if job.get("id"):
                client.retry(job["id"])
                again = {"ended": False, "windows": 0, "status": "IN_PROGRESS", "said": ""}
                return _begun(beside, {**job, **again})
            return started(beside, client, job["payload"], ability)

        return _tried(site, beside, place, work)

    form.make.click(make, [place, ability, *form.inputs], outputs, **QUIET, **RAW).then(
        None, js="() => window.thShow('th-screen')", api_visibility="private"
    )
    beside.retry.click(retry, [place, ability, beside.job], outputs, **QUIET)
    _following(site, beside, place)
    _previewing(site, form, beside, place)


def _following(site: Site, beside: Stage, place: Any) -> None:
    """Connect the clock that looks at a job, and the button that cancels it."""

    def cancel(place: Json, job: Json) -> Updates:
        def work(client: Client) -> Updates:
            client.cancel(job["id"])
            return stage.looked(beside, site, client, job)

        return _tried(site, beside, place, work) if job.get("id") else stage.nothing()

    def tick(place: Json, job: Json) -> Updates:
        if not job.get("id") or job.get("ended"):
            return {beside.timer: gr.Timer(active=False)}
        return _tried(site, beside, place, lambda client: stage.looked(beside, site, client, job))

    outputs, known = stage.outputs(beside), [place, beside.job]
    beside.cancel.click(cancel, known, outputs, **QUIET)
    beside.timer.tick(tick, known, outputs, trigger_mode="once", **QUIET)


def started(beside: Stage, client: Client, wanted: Json, ability: Json) -> Updates:
    """Queue a request, and return what to show of it."""
    begun = client.run(wanted)
    job = {"id": begun["id"], "payload": wanted, "partial": bool(ability.get("ours"))}
    return _begun(beside, job)


def _begun(beside: Stage, job: Json) -> Updates:
    waiting = telling.Moment("Starting", 0.0, "", 0)
    return {
        beside.job: job,
        beside.kept: job["id"],
        beside.timer: gr.Timer(active=True),
        beside.board: html.progress(waiting),
        beside.screen: html.empty("The first seconds will be here soon."),
        beside.sheet: "",
        beside.announce: "Started.",
        beside.cancel: gr.Button(visible=True),
        beside.retry: gr.Button(visible=False),
        beside.again: gr.Button(visible=False),
        beside.planning: gr.Column(visible=False),
    }


def _tried(site: Site, beside: Stage, place: Json, work: Callable[[Client], Updates]) -> Updates:
    """Do it with a client; return its updates, or the trouble."""
    try:
        with site.open(place) as client:
            return work(client)
    except TalkheadError as error:
        return stage.failed(beside, error)


def _previewing(site: Site, form: Form, beside: Stage, place: Any) -> None:
    def preview(place: Json, found: Json, *values: Any) -> str:
        seconds = (found.get("plan") or {}).get("seconds")
        try:
            with site.open(place) as client:
                wanted = asking.payload(asking.asked(values), lambda file: site.refer(client, file))
                made = client.runsync(asking.preview(wanted, seconds))
                video = next(item for item in made["outputs"] if item["kind"] == "video")
                player = html.video(site.link(client, video), label="Draft preview", key="draft")
        except TalkheadError as error:
            return html.trouble(telling.trouble(error))
        return html.captioned(player, "Draft preview: the first seconds, on the draft engine")

    inputs = [place, beside.found, *form.inputs]
    form.preview.click(lambda: html.note("Making the preview …"), None, beside.draft, **QUIET).then(
        preview, inputs, beside.draft, **QUIET, **RAW
    )


def _hearing(site: Site, form: Form, place: Any) -> None:
    """Connect the buttons that let a voice be heard, and the tabs of each speaker."""

    def hear(place: Json, *values: Any) -> str:
        voice = asking.Voice(**dict(zip(asking.VOICE_FIELDS, ("text", *values[1:]), strict=True)))
        try:
            with site.open(place) as client:
                made = client.runsync(asking.spoken(voice))
                sound = next(item for item in made["outputs"] if item["kind"] == "audio")
                return html.audio(site.link(client, sound), "The voice")
        except TalkheadError as error:
            return html.trouble(telling.trouble(error))

    for speaker in form.speakers:
        fields = [speaker.fields[name] for name in asking.VOICE_FIELDS]
        speaker.preview.click(hear, [place, *fields], speaker.heard, **QUIET, **RAW)
        recording, written = speaker.tabs
        recording.select(lambda: "recording", None, speaker.fields["mode"], **QUIET)
        written.select(lambda: "text", None, speaker.fields["mode"], **QUIET)
