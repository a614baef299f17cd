"""The operator's library on the page: pictures and recordings to choose by name."""

from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve.ui import choices, html, telling
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.site import Site
from talkhead.serve.ui.stage import Updates, nothing

Json = dict[str, Any]

QUIET: Json = {"show_progress": "hidden", "api_visibility": "private"}


def offered(form: Form, known: Json) -> Updates:
    """Return the choices of the library, where the operator has put something into it."""
    pictures, sounds = (choices.library(known, kind) for kind in ("pictures", "sounds"))
    shown: Updates = {form.shelf: gr.Dropdown(pictures, value=None, visible=bool(pictures))}
    for speaker in form.speakers:
        shown[speaker.shelf] = gr.Dropdown(sounds, value=None, visible=bool(sounds))
    return shown


def outputs(form: Form) -> list[Any]:
    """Return the components that `offered` changes."""
    return [form.shelf, *(speaker.shelf for speaker in form.speakers)]


def wire(site: Site, form: Form, speaker: Any, place: Any) -> None:
    """Connect the choices; what is chosen lies in the form as if it had been dropped there.

    `speaker` is whose face is chosen next: another picture has other faces.
    """
    portrait, boxes = form.fields["portrait"], form.fields["boxes"]
    _connect(site, form, place, form.shelf, portrait, {boxes: {}, speaker: 0})
    for each in form.speakers:
        _connect(site, form, place, each.shelf, each.fields["audio"], {})


def _connect(site: Site, form: Form, place: Any, shelf: Any, target: Any, also: Updates) -> None:
    def take(place: Json, name: str | None) -> Updates:
        if not name:
            return nothing()
        try:
            with site.open(place) as client:
                file = site.brought(client, f"library:{name}")
        except TalkheadError as error:
            return {form.returned: html.trouble(telling.trouble(error))}
        if file is None:
            return {form.returned: html.note(f"{name} is no longer in the library.", "bad")}
        return {target: str(file), form.returned: "", **also}

    shelf.input(take, [place, shelf], [target, form.returned, *also], **QUIET)
    for event in (target.upload, target.clear):
        event(lambda: None, None, shelf, **QUIET)
