"""Faces in the portrait: drawn, and with two speakers chosen by clicks."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from talkhead.serve.ui import html
from talkhead.serve.ui.asking import Asked
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.picking import picked
from talkhead.serve.ui.stage import Stage, Updates

Json = dict[str, Any]

QUIET: Json = {"show_progress": "hidden", "api_visibility": "private"}


def drawn(found: Json, form: Asked) -> str:
    """Return the picture of a plan with what the form chooses in it."""
    return _drawn(found, dict(form.boxes or {}), form.two)


def _drawn(found: Json, boxes: Mapping[str, Any], two: bool) -> str:
    picture = found.get("picture")
    if not picture or not (found.get("faces") or two):
        return ""
    size = tuple(picture["size"])
    return html.picture(picture["link"], size, found.get("faces") or [], boxes, two)


def wire(form: Form, beside: Stage) -> None:
    """Connect switch, picture and speakers."""
    held, two = form.fields["boxes"], form.fields["two"]

    def toggle(two: bool, found: Json, boxes: Json) -> Updates:
        return {
            form.second: gr.Column(visible=two),
            beside.speaker: gr.Radio(visible=two),
            beside.clear: gr.Button(visible=two),
            beside.faces: _drawn(found, boxes, two),
        }

    def pick(found: Json, boxes: Json, speaker: int, event: gr.EventData) -> tuple[Json, int, str]:
        boxes, speaker = picked(boxes, int(speaker), event._data, found.get("faces") or [])
        return boxes, speaker, _drawn(found, boxes, True)

    def clear(found: Json) -> tuple[Json, int, str]:
        return {}, 0, _drawn(found, {}, True)

    chosen = [held, beside.speaker, beside.faces]
    shown = [form.second, beside.speaker, beside.clear, beside.faces]
    two.change(toggle, [two, beside.found, held], shown, **QUIET)
    beside.faces.click(pick, [beside.found, held, beside.speaker], chosen, **QUIET)
    beside.clear.click(clear, beside.found, chosen, **QUIET)
    for event in (form.fields["portrait"].clear, form.fields["portrait"].upload):
        event(lambda: ({}, 0), None, [held, beside.speaker], **QUIET)  # another picture
