"""What happens when the page opens, a server is chosen, or an earlier job's settings return."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve.ui import asking, choices, html, stage, telling
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.site import Site
from talkhead.serve.ui.stage import Stage, Updates

Json = dict[str, Any]

# What an earlier request brings back beside its texts.
CHOSEN = ("engine", "size", "quality", "fit", "seed", "offload", "score", "turns", "options")


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
    return found | of_engine(form, known, begin)


def _lacking(known: Json) -> str:
    engines = html.lacking(known.get("engines", ()), "Engines that are not installed here")
    return engines + html.lacking(known.get("voices", ()), "Voices that are not installed here")


def of_engine(form: Form, known: Json, name: str) -> Updates:
    """Return the choices that depend on the engine."""
    found = choices.engine(known, name)
    qualities = choices.qualities(found)
    usual = "balanced" if "balanced" in [value for _, value in qualities] else None
    return {
        form.fields["size"]: gr.Dropdown(choices.sizes(found), value=""),
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
    return [ability, *more, *voices, *engine_outputs(form)]


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


def refilled(form: Form, payload: Mapping[str, Any], seed: int | None, preset: Any) -> Updates:
    """Return the form with the settings of an earlier request; its files are for the user."""
    sampling = dict(payload.get("sampling") or {})
    seed = sampling.get("seed", seed)
    size = payload.get("size")
    values: Json = {name: payload.get(name) or "" for name in ("prompt", "negative_prompt", "fps")}
    values |= {name: str(sampling.get(name, "")) for name in asking.SAMPLING}
    values |= {
        "engine": payload.get("engine") or choices.AUTO,
        "size": size if isinstance(size, str) else str(size or ""),
        "quality": payload.get("quality"),
        "fit": payload.get("fit") or "crop",
        "seed": "" if seed is None else str(seed),
        "offload": (payload.get("memory") or {}).get("offload") or "",
        "score": bool((payload.get("output") or {}).get("score")),
        "turns": payload.get("turns") or "together",
        "options": dict(payload.get("options") or {}),
    }
    found: Updates = {form.fields[name]: value for name, value in values.items()}
    for speaker, said in zip(form.speakers, payload.get("speakers") or (), strict=False):
        found |= _spoken(speaker, said)
    return found | {preset: dict(payload.get("options") or {})}


def _spoken(speaker: Any, said: Mapping[str, Any]) -> Updates:
    names = ("transcript", "text", "voice", "speed", "language")
    return {speaker.fields[name]: said[name] for name in names if said.get(name)}


def refill_outputs(form: Form, preset: Any) -> list[Any]:
    """Return the components that `refilled` changes."""
    names = ("prompt", "negative_prompt", "fps", *asking.SAMPLING, *CHOSEN)
    voiced = ("transcript", "text", "voice", "speed", "language")
    spoken = [speaker.fields[name] for speaker in form.speakers for name in voiced]
    return [*(form.fields[name] for name in names), *spoken, preset]
