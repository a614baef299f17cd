"""A portrait from words, where the server has a maker for it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve.ui import html, telling
from talkhead.serve.ui.site import Site

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drawing:
    """The components that make a portrait; `whole` is hidden where the server has no maker."""

    whole: Any
    prompt: Any
    draw: Any
    said: Any


def create() -> Drawing:
    """Lay them out."""
    with gr.Accordion("No photo? Describe one", open=False, visible=False) as whole:
        prompt = gr.Textbox(label="What to draw", lines=2, elem_id="th-draw-prompt")
        draw = gr.Button("Draw the portrait", size="md", elem_id="th-draw")
        said = gr.HTML("")
    return Drawing(whole, prompt, draw, said)


def wire(site: Site, drawing: Drawing, portrait: Any, place: Any) -> None:
    """Connect the button; what is drawn becomes the portrait."""

    def draw(place: Json, prompt: str) -> dict[Any, Any]:
        try:
            with site.open(place) as client:
                made = client.runsync({"action": "portrait", "prompt": (prompt or "").strip()})
                image = next(item for item in made["outputs"] if item["kind"] == "image")
                return {portrait: str(site.fetched(client, image)), drawing.said: ""}
        except TalkheadError as error:
            return {drawing.said: html.trouble(telling.trouble(error))}

    drawing.draw.click(
        draw, [place, drawing.prompt], [portrait, drawing.said], show_progress="minimal",
        api_visibility="private",
    )  # fmt: skip
