"""What "Use these settings again" does: the form of an earlier job, with its files and boxes."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve.client import Client
from talkhead.serve.ui import choices, html, opening, telling
from talkhead.serve.ui.asking import SIMPLE_FIELDS, VOICE_FIELDS, Voice
from talkhead.serve.ui.form import Form, Speaking
from talkhead.serve.ui.recalling import Recalled, recalled
from talkhead.serve.ui.site import Site
from talkhead.serve.ui.stage import Stage, Updates, nothing

Json = dict[str, Any]
Files = Mapping[str, Path | None]  # by the slots of `Recalled.files`; None could not be had back

OF_ENGINE = ("engine", "size", "quality", "two", "options")  # set with the engine's own choices
OF_FILES = ("portrait", "video")


def wire(
    site: Site,
    form: Form,
    beside: Stage,
    states: tuple[Any, Any, Any],
    tabs: Any,
    sources: tuple[tuple[Any, Any], ...],
) -> None:
    """Connect the buttons: `states` are place, ability and preset, `sources` (button, job)."""
    place, ability, preset = states

    def reuse(place: Json, known: Json, job: Json) -> Updates:
        if not job.get("payload"):
            return nothing()
        try:
            found = recalled(job["payload"], job.get("seed"))
            with site.open(place) as client:
                files = brought(site, client, found)
        except TalkheadError as error:
            shown: Updates = {form.returned: html.trouble(telling.trouble(error))}
            return shown | {tabs: gr.Tabs(selected="create")}
        remarks = telling.lacks(found, files, _lacks_engine(known, found.form.engine))
        shown = refilled(form, known, found, files) | {
            form.returned: html.returned(remarks),
            beside.announce: html.esc(" ".join(remarks) or "The settings are back."),
            preset: {"options": dict(found.form.options or {}), "at": time.monotonic()},
        }
        return shown | {tabs: gr.Tabs(selected="create")}

    outputs = [*outputs_of(form), form.returned, beside.announce, preset, tabs]
    for button, job in sources:
        button.click(
            reuse, [place, ability, job], outputs, show_progress="hidden", api_visibility="private"
        )
    files = [form.fields[name] for name in OF_FILES]
    for component in (*files, *(speaker.fields["audio"] for speaker in form.speakers)):
        component.upload(
            lambda: "", None, form.returned, show_progress="hidden", api_visibility="private"
        )


def brought(site: Site, client: Client, found: Recalled) -> dict[str, Path | None]:
    """Return the files of a request, from the server."""
    return {slot: site.brought(client, ref) for slot, ref in found.files.items()}


def refilled(form: Form, known: Json, found: Recalled, files: Files) -> Updates:
    """Return the form as it was."""
    asked = found.form
    lacks = _lacks_engine(known, asked.engine)
    engine = choices.first(choices.engines(known)) if lacks else asked.engine
    shown = opening.of_engine(form, known, engine, asked.size or "", asked.quality)
    shown |= {
        form.fields["engine"]: engine,
        form.fields["options"]: {} if lacks else dict(asked.options or {}),
        form.fields["two"]: gr.Checkbox(value=asked.two, visible=True),
        form.shelf: None,
    }
    for name in SIMPLE_FIELDS:
        if name not in (*OF_ENGINE, *OF_FILES):
            shown[form.fields[name]] = getattr(asked, name)
    for name in OF_FILES:
        shown[form.fields[name]] = _shown(files.get(name))
    for speaker, voice, slot in zip(
        form.speakers, (asked.first, asked.second), ("first", "second"), strict=True
    ):
        shown |= _spoken(speaker, voice, _shown(files.get(slot)))
    return shown


def _lacks_engine(known: Json, engine: str) -> str:
    """Return the name of an engine that was asked for and is not ready here."""
    ready = {value for _, value in choices.engines(known)}
    return "" if engine in ready or engine == choices.AUTO else engine


def _spoken(speaker: Speaking, voice: Voice, audio: str | None) -> Updates:
    shown: Updates = {
        speaker.fields["mode"]: voice.mode,
        speaker.fields["audio"]: audio,
        speaker.fields["transcript"]: voice.transcript or "",
        speaker.fields["text"]: voice.text or "",
        speaker.fields["speed"]: voice.speed or 1,
        speaker.fields["language"]: voice.language or "auto",
        speaker.choice: gr.Tabs(selected=voice.mode),
        speaker.shelf: None,
    }
    return shown | ({speaker.fields["voice"]: voice.voice} if voice.voice else {})


def _shown(file: Path | None) -> str | None:
    return None if file is None else str(file)


def outputs_of(form: Form) -> list[Any]:
    """Return the components that `refilled` changes."""
    spoken = [speaker.fields[name] for speaker in form.speakers for name in VOICE_FIELDS]
    beside = [each for speaker in form.speakers for each in (speaker.choice, speaker.shelf)]
    return [*form.fields.values(), *spoken, *beside, form.shelf, form.diffusion]
