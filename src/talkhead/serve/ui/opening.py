"""What happens when the page opens, or a server is chosen."""

from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve.ui import choices, html, library, stage, telling
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.site import Site
from talkhead.serve.ui.stage import Stage, Updates

Json = dict[str, Any]


def reached(site: Site, form: Form, place: Json, ability: Any) -> Updates:
    """Ask the server what it can do, and return the form's choices."""
    try:
        with site.open(place) as client:
            known = client.capabilities()
    except TalkheadError as error:
        return {form.lacking: html.trouble(telling.trouble(error))}
    engines = choices.engines(known)
    begin = choices.first(engines)
    voices = choices.voices(known)
    found: Updates = {
        ability: known,
        form.fields["engine"]: gr.Dropdown(engines, value=begin),
        form.fields["kind"]: gr.Radio(visible=choices.takes_video(known)),
        form.drawing.whole: gr.Accordion(visible="portrait" in known.get("actions", ())),
        form.lacking: _lacking(known),
        form.plan: gr.Button(visible=not known["ours"]),
    }
    for speaker in form.speakers:
        value = voices[0][1] if voices else None
        found[speaker.fields["voice"]] = gr.Dropdown(voices, value=value)
    found |= library.offered(form, known)
    return found | of_engine(form, known, begin)


def _lacking(known: Json) -> str:
    engines = html.lacking(known.get("engines", ()), "Engines that are not installed here")
    return engines + html.lacking(known.get("voices", ()), "Voices that are not installed here")


def of_engine(
    form: Form, known: Json, name: str, size: str = "", quality: str | None = "balanced"
) -> Updates:
    """Return the choices that depend on the engine, with what is to be chosen of them."""
    found = choices.engine(known, name)
    qualities = choices.qualities(found)
    usual = quality if quality in [value for _, value in qualities] else None
    return {
        form.fields["size"]: gr.Dropdown(choices.sizes(found), value=size),
        form.fields["quality"]: gr.Dropdown(qualities, value=usual, visible=bool(qualities)),
        form.fields["two"]: gr.Checkbox(visible=choices.takes_two(found)),
        form.fields["options"]: {},
        form.diffusion: gr.Column(visible=not found or found.get("qualities") != []),
    }


def engine_outputs(form: Form) -> list[Any]:
    """Return the components that `of_engine` changes."""
    fields = [form.fields[name] for name in ("size", "quality", "two", "options")]
    return [*fields, form.diffusion]


def outputs(form: Form, ability: Any) -> list[Any]:
    """Return the components that `reached` changes."""
    voices = [speaker.fields["voice"] for speaker in form.speakers]
    more = [form.fields["engine"], form.fields["kind"], form.drawing.whole, form.lacking, form.plan]
    return [ability, *more, *voices, *library.outputs(form), *engine_outputs(form)]


def found_again(site: Site, beside: Stage, place: Json, job_id: str) -> Updates:
    """Return what to show of the job that this browser began before the page was loaded."""
    if not job_id:
        return {}
    try:
        with site.open(place) as client:
            job = {"id": job_id, **_payload(client, job_id)}
            return stage.looked(beside, site, client, job)
    except TalkheadError:
        return {beside.kept: ""}  # it is gone, or another server's: the page begins anew


def _payload(client: Any, job_id: str) -> Json:
    """Return what a talkhead server knows of a job; of a plain endpoint's nothing is known."""
    try:
        return {"payload": client.job(job_id).get("input"), "partial": True}
    except TalkheadError:
        return {"partial": False}
