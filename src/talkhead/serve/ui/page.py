"""The page: its tabs, laid out and connected. Importing it loads Gradio, which takes seconds."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from talkhead.media.fetch import bundle
from talkhead.serve.ui import again, drawing, history, html, library, making, opening, own_options
from talkhead.serve.ui import form as forms
from talkhead.serve.ui import stage as stages
from talkhead.serve.ui.colours import COLOURS
from talkhead.serve.ui.form import Form
from talkhead.serve.ui.site import Site, local
from talkhead.serve.ui.stage import Stage, Updates

Json = dict[str, Any]

SWEEP_S, KEPT_S = 3600, 86_400  # between looks for old uploads, and how old those are
AT_ONCE, WAITING = 24, 400  # events that run, and that wait
LARGEST = "2gb"  # of one file that is dropped
QUIET = making.QUIET

# The key lives as long as the browser's tab and is never written to its disk.
REMEMBER = """(base, key) => {
  sessionStorage.setItem('talkhead', JSON.stringify([base, key])); return [base, key]; }"""
RECALL = """(...given) => { const held = JSON.parse(sessionStorage.getItem('talkhead') || 'null');
  return held ? [...given.slice(0, 2), ...held] : given; }"""


def build(site: Site) -> Any:
    """Return the page as gr.Blocks; `look` says how it is mounted."""
    with gr.Blocks(
        title="talkhead", analytics_enabled=False, delete_cache=(SWEEP_S, KEPT_S), fill_width=True
    ) as blocks:
        place, ability, session = gr.State({}), gr.State({}), gr.State([])
        preset, follow = gr.State({}), gr.State("")
        gr.HTML(html.head())
        with gr.Tabs(elem_id="th-tabs") as tabs:
            with gr.Tab("Create", id="create"):
                form, beside = _create()
            with gr.Tab("History", id="history") as tab:
                past = history.create(tab)
            server = _settings(site)
        own_options.create(form.own, ability, form.fields["engine"], form.fields["options"], preset)
        making.wire(site, form, beside, place, ability)
        drawing.wire(site, form.drawing, form.fields["portrait"], place)
        history.wire(site, past, place, ability, session, follow)
        _open(blocks, site, form, beside, (place, ability), server)
        library.wire(site, form, beside.speaker, place)
        sources = ((beside.again, beside.job), (past.again, past.opened))
        again.wire(site, form, beside, (place, ability, preset), tabs, sources)
        _follow(site, beside, place, follow, tabs)
        _remember(beside, session)
    blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)
    return blocks


def look(site: Site) -> Json:
    """Return what gr.mount_gradio_app needs beside app, blocks and path."""
    here = files("talkhead.serve.ui")
    script = (here / "act.js").read_text(encoding="utf-8")
    return {
        "theme": _theme(),
        "css": (here / "style.css").read_text(encoding="utf-8"),
        "head": f'<meta name="color-scheme" content="light dark"><script>{script}</script>',
        "footer_links": [],
        "app_kwargs": {"docs_url": None, "redoc_url": None, "openapi_url": None},
        "max_file_size": LARGEST,
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "show_error": False,
        "allowed_paths": [str(site.folder), *map(str, _samples())],
    }


def _theme() -> Any:
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Consolas", "monospace"]
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="zinc", radius_size="lg", font=system, font_mono=mono
    )
    darker = {f"{name}_dark": dark for name, (_, dark) in COLOURS.items()}
    lighter = {name: light for name, (light, _) in COLOURS.items()}
    return base.set(**lighter, **darker, block_shadow="none", input_border_width="1px")


def _samples() -> list[Path]:
    """Return the example portraits, which come with the page."""
    return sorted(bundle().glob("*.png"))


def _create() -> tuple[Form, Stage]:
    samples = {file.name: file for file in _samples()}
    with gr.Row(elem_id="th-create"):
        with gr.Column(scale=5, min_width=300):
            form = forms.create([(name, local(file)) for name, file in samples.items()])
        with gr.Column(scale=6, min_width=300):
            beside = stages.create()

    def sample(event: gr.EventData) -> str:
        return str(samples[event._data["name"]])

    form.samples.click(sample, None, form.fields["portrait"], **QUIET)

    def kind(chosen: str) -> tuple[Any, Any]:
        return gr.Image(visible=chosen == "picture"), gr.Video(visible=chosen == "video")

    form.fields["kind"].change(
        kind, form.fields["kind"], [form.fields["portrait"], form.fields["video"]], **QUIET
    )
    return form, beside


def _settings(site: Site) -> tuple[Any, Any, Any, Any] | None:
    """Lay out the choice of a server, where the page leaves it to its user."""
    if not site.choose:
        return None
    with gr.Tab("Settings", id="settings"):
        base = gr.Textbox(
            label="Server or endpoint",
            placeholder=site.base,
            info="Such as https://api.runpod.ai/v2/YOUR-ENDPOINT; empty for the first one.",
            elem_id="th-base",
        )
        key = gr.Textbox(
            label="Key",
            type="password",
            info="Kept until you close this tab of the browser, and nowhere else.",
            elem_id="th-key",
        )
        connect = gr.Button("Connect", variant="primary", elem_id="th-connect")
        said = gr.HTML("", elem_id="th-connected")
    return base, key, connect, said


def _open(
    blocks: Any, site: Site, form: Form, beside: Stage, states: tuple[Any, Any], server: Any
) -> None:
    """Connect what happens when the page is loaded, or another server or engine is chosen."""
    place, ability = states
    price_kept = stages.in_browser(None, "price")
    known = opening.outputs(form, ability)

    def load(job_id: str, price: float | None, base: str = "", key: str = "") -> Updates:
        at = {"base": base, "key": key}
        found = {place: at, beside.price: price}
        found |= opening.reached(site, form, at, ability)
        return found | opening.found_again(site, beside, at, job_id)

    shown = stages.outputs(beside)
    typed = list(server[:2]) if server else []
    blocks.load(
        load, [beside.kept, price_kept, *typed], [place, beside.price, *known, *shown],
        js=RECALL if server else None, **QUIET,
    )  # fmt: skip
    beside.price.change(lambda price: price, beside.price, price_kept, **QUIET)
    form.fields["engine"].input(
        lambda known, name: opening.of_engine(form, known, name),
        [ability, form.fields["engine"]], opening.engine_outputs(form), **QUIET,
    )  # fmt: skip
    if server:
        _connect(site, form, place, ability, server)


def _connect(site: Site, form: Form, place: Any, ability: Any, server: Any) -> None:
    base, key, connect, said = server

    def chosen(base: str, key: str) -> Updates:
        at = {"base": base.strip(), "key": key.strip()}
        found = opening.reached(site, form, at, ability)
        reached = ability in found
        spoken = html.note("Connected.", "good") if reached else found[form.lacking]
        return found | {place: at, said: spoken}

    outputs = [place, said, *opening.outputs(form, ability)]
    connect.click(chosen, [base, key], outputs, js=REMEMBER, **QUIET)


def _follow(site: Site, beside: Stage, place: Any, follow: Any, tabs: Any) -> None:
    """Connect the history's wish to watch a job."""

    def watch(place: Json, job_id: str) -> Updates:
        if not job_id:
            return stages.nothing()
        shown = opening.found_again(site, beside, place, job_id)
        return shown | {beside.kept: job_id, follow: "", tabs: gr.Tabs(selected="create")}

    outputs = [*stages.outputs(beside), follow, tabs]
    follow.change(watch, [place, follow], outputs, **QUIET)


def _remember(beside: Stage, session: Any) -> None:
    """Keep the jobs of this session: a plain endpoint lists none."""

    def kept(job: Json, session: list[Json]) -> list[Json]:
        if not job.get("id"):
            return session
        payload = job.get("payload") or {}
        entry = {
            "id": job["id"],
            "status": job.get("status", "IN_PROGRESS"),
            "input": payload,
            "engine": payload.get("engine", "auto"),
            "title": next(
                (s["text"] for s in payload.get("speakers", ()) if s.get("text")), "Video"
            ),
        }
        return [*(old for old in session if old["id"] != job["id"]), entry]

    beside.job.change(kept, [beside.job, session], session, **QUIET)
