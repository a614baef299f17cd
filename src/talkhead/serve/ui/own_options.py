"""The engine's own options as components: made anew for each engine from its JSON Schema."""

from typing import Any

import gradio as gr

from talkhead.serve.ui import choices, options
from talkhead.serve.ui.options import Option

Json = dict[str, Any]


def create(place: Any, ability: Any, engine: Any, held: Any, preset: Any) -> None:
    """Keep the panel of the chosen engine in `place`; what is set goes into the state `held`.

    `preset` is a state: under `options` those to begin with, as an earlier job's.
    """
    with place:

        @gr.render(  # type: ignore[untyped-decorator]
            inputs=[ability, engine, preset],
            triggers=[ability.change, engine.change, preset.change],
            show_progress="hidden",
        )
        def panel(known: Json, name: str, preset: Json) -> None:
            begin = preset.get("options", {})
            schema = choices.engine(known, name).get("options")
            found = options.options(schema) if name != choices.AUTO else []
            if not found:
                gr.HTML(f"<p class='th-note'>{_nothing(name)}</p>")
            for pair in zip(found[::2], [*found[1::2], None], strict=False):
                with gr.Row():
                    for option in pair:
                        if option is not None:
                            _connect(_component(option, begin.get(option.name)), option, held)


def _nothing(name: str) -> str:
    if name == choices.AUTO:
        return "Choose an engine by name to see its own options."
    return "This engine has no options of its own."


def _component(option: Option, begin: Any) -> Any:
    default = f"default: {option.default}" if option.default else "the engine's own"
    shared: Json = {"label": option.label, "info": option.help or None, "min_width": 200}
    value = options.shown(option, begin)
    if option.kind in ("choice", "switch"):
        named = [("Yes", "yes"), ("No", "no")]
        if option.kind == "choice":
            named = [(str(choice), str(choice)) for choice in option.choices]
        unset = (f"Unset ({default})", options.UNSET)
        return gr.Dropdown([unset, *named], value=value, **shared)
    return gr.Textbox(value, placeholder=default, lines=1, max_lines=1, **shared)


def _connect(component: Any, option: Option, held: Any) -> None:
    def keep(given: Any, now: Json) -> Json:
        rest = {name: value for name, value in now.items() if name != option.name}
        value = options.value(option, given)
        return rest if value is None else {**rest, option.name: value}

    component.change(
        keep, [component, held], held, show_progress="hidden", api_visibility="private",
        trigger_mode="always_last",
    )  # fmt: skip
