"""The form of a video: what to fill in, in the order of reading."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from talkhead.serve.ui import drawing, html
from talkhead.serve.ui.asking import SIMPLE_FIELDS, VOICE_FIELDS

CLICKS = "window.thClick(element, trigger)  // 'click'"
LANGUAGES = [
    ("Automatic", "auto"), ("English", "en"), ("Deutsch", "de"), ("Français", "fr"),
    ("Español", "es"), ("Italiano", "it"), ("Português", "pt"), ("Nederlands", "nl"),
    ("Polski", "pl"), ("中文", "cmn"), ("日本語", "ja"), ("हिन्दी", "hi"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Speaking:
    """The components of one speaker."""

    fields: dict[str, Any]  # by VOICE_FIELDS
    choice: Any  # of a tab: recording or text, as `mode` says it
    tabs: tuple[Any, Any]
    shelf: Any  # recordings of the library
    preview: Any
    heard: Any


@dataclass(frozen=True, slots=True)
class Form:
    """All components that a request is made from, and those that go with them."""

    fields: dict[str, Any]  # by SIMPLE_FIELDS
    speakers: tuple[Speaking, Speaking]
    second: Any  # the group of the second speaker
    returned: Any  # what could not be brought back of an earlier job
    samples: Any
    shelf: Any  # pictures of the library
    drawing: drawing.Drawing
    lacking: Any  # what is not installed
    make: Any
    preview: Any
    plan: Any  # asks for the plan where that is not free
    own: Any  # where the engine's own options go
    diffusion: Any  # what only engines with steps use

    @property
    def inputs(self) -> list[Any]:
        """Return the components in the order that `asking.asked` reads."""
        return [
            *(self.fields[name] for name in SIMPLE_FIELDS),
            *(speaker.fields[name] for speaker in self.speakers for name in VOICE_FIELDS),
        ]

    @property
    def changes(self) -> list[Any]:
        """Return the events after which the plan is another one."""
        alike = ("score", "thumbnail")  # with or without them, the plan is the same
        fields = [held for name, held in self.fields.items() if name not in alike]
        held = [*fields, *(s.fields[n] for s in self.speakers for n in VOICE_FIELDS)]
        return [component.change for component in held]


def create(samples: list[tuple[str, str]]) -> Form:
    """Lay out the form, and return its components."""
    returned = gr.HTML("", elem_id="th-returned")
    fields = _picture()
    found = gr.HTML(html.samples(samples), js_on_load=CLICKS, visible=bool(samples))
    shelf = _shelf("A portrait from the library", "th-library")
    drawn = drawing.create()
    fields["two"] = gr.Checkbox(label="Two people in the picture", elem_id="th-two")
    first = _speaker(1)
    with gr.Column(visible=False, elem_id="th-second") as second:
        other = _speaker(2)
        fields["turns"] = gr.Radio(
            [("At the same time", "together"), ("One after the other", "in_turn")],
            value="together",
            label="They speak",
        )
    with gr.Row(equal_height=True):
        fields["engine"] = gr.Dropdown([], label="Engine", min_width=215)
        fields["size"] = gr.Dropdown(
            [], label="Size", allow_custom_value=True, min_width=215, elem_id="th-size"
        )
        fields["quality"] = gr.Dropdown([], label="Quality", visible=False, min_width=215)
    lacking = gr.HTML("")
    fields["score"] = gr.Checkbox(label="Measure lip sync when done", elem_id="th-score")
    make = gr.Button("Make the video", variant="primary", size="lg", elem_id="th-make")
    with gr.Row():
        preview = gr.Button("Draft preview of 3 s", size="md", elem_id="th-preview")
        plan = gr.Button("Show the plan", size="md", visible=False)
    with gr.Accordion("Advanced", open=False, elem_id="th-advanced"):
        more, place, diffusion = _advanced()
    fields |= more
    fields["boxes"] = gr.State({})
    return Form(
        fields, (first, other), second, returned, found, shelf, drawn, lacking, make, preview, plan,
        place, diffusion,
    )  # fmt: skip


def _picture() -> dict[str, Any]:
    kind = gr.Radio(
        [("Picture", "picture"), ("Video", "video")],
        value="picture",
        label="The person is in a",
        visible=False,
    )
    portrait = gr.Image(
        label="Portrait",
        type="filepath",
        image_mode=None,  # the bytes stay as they are
        sources=["upload", "webcam", "clipboard"],
        height=300,
        elem_id="th-portrait",
        buttons=[],
        webcam_options=gr.WebcamOptions(mirror=False),
    )
    video = gr.Video(
        label="Source video",
        sources=["upload"],
        height=300,
        visible=False,
        elem_id="th-source",
        buttons=[],
    )
    return {"kind": kind, "portrait": portrait, "video": video}


def _speaker(number: int) -> Speaking:
    whose, of_whom = ("", "") if number == 1 else (" of speaker 2", ", for speaker 2")
    mode = gr.State("recording")
    with gr.Tabs(elem_classes="th-speech") as choice:
        with gr.Tab("Recording", id="recording") as recording:
            audio = gr.Audio(
                label=f"Speech{whose}",
                type="filepath",
                sources=["upload", "microphone"],
                elem_id=f"th-audio-{number}",
                editable=False,
                buttons=[],
            )
            shelf = _shelf(f"A recording from the library{of_whom}", f"th-sounds-{number}")
            with gr.Accordion(f"I have the words{whose}", open=False):
                transcript = gr.Textbox(
                    label=f"Words of the recording{whose}",
                    info="They make the lips exact.",
                    lines=2,
                    max_lines=8,
                )
        with gr.Tab("Text", id="text") as written:
            text = gr.Textbox(
                label=f"What to say{whose}", lines=3, max_lines=12, elem_id=f"th-text-{number}"
            )
            with gr.Row():
                voice = gr.Dropdown([], label="Voice", min_width=120)
                language = gr.Dropdown(
                    LANGUAGES,
                    value="auto",
                    label="Language",
                    allow_custom_value=True,
                    min_width=120,
                )
            speed = gr.Slider(0.5, 2, value=1, step=0.05, label="Speed")
            hear = gr.Button("Hear the voice", size="md", elem_id=f"th-hear-{number}")
            heard = gr.HTML("")
    held = (mode, audio, transcript, text, voice, speed, language)
    fields = dict(zip(VOICE_FIELDS, held, strict=True))
    return Speaking(fields, choice, (recording, written), shelf, hear, heard)


def _shelf(label: str, name: str) -> Any:
    return gr.Dropdown([], label=label, visible=False, elem_id=name)


def _advanced() -> tuple[dict[str, Any], Any, Any]:
    """Lay out what few need; return its fields, and two places: own options, and diffusion."""
    place = gr.Column(elem_classes="th-tight")
    fields: dict[str, Any] = {"options": gr.State({})}
    with gr.Row():
        fields["fit"] = gr.Dropdown(
            [("Crop", "crop"), ("Pad", "pad"), ("Around the face", "face")],
            value="crop",
            label="Portrait in the frame",
            min_width=160,
        )
        fields["fps"] = _unset("Frames per second")
        fields["seed"] = _unset("Seed", "random")
        fields["thumbnail"] = gr.Checkbox(value=True, label="With a thumbnail", min_width=160)
    with gr.Column() as diffusion:
        fields["prompt"] = gr.Textbox(label="Prompt", info="For engines that read one.", lines=2)
        fields["negative_prompt"] = gr.Textbox(label="What not to show", lines=1)
        with gr.Row():
            fields["steps"] = _unset("Steps")
            fields["text_guidance"] = _unset("Text guidance")
            fields["audio_guidance"] = _unset("Audio guidance")
            fields["shift"] = _unset("Shift")
        fields["offload"] = gr.Dropdown(
            [("Automatic", ""), ("All on the device", "none"), ("Layers wait in memory", "block")],
            value="",
            label="Large models",
        )
    return fields, place, diffusion


def _unset(label: str, placeholder: str = "the engine's own") -> Any:
    """Return a field for a number that may be left out: gr.Number shows 0 for none."""
    return gr.Textbox(label=label, placeholder=placeholder, min_width=160, lines=1, max_lines=1)
