"""The tab "History": what the server has made, or with a plain endpoint what this session has."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from talkhead.errors import TalkheadError
from talkhead.serve import replies
from talkhead.serve.client import Client
from talkhead.serve.ui import html, stage, telling
from talkhead.serve.ui.form import CLICKS
from talkhead.serve.ui.site import Site

Json = dict[str, Any]

SHOWN = 30  # jobs


@dataclass(frozen=True, slots=True)
class History:
    """The tab's components."""

    tab: Any
    screen: Any
    sheet: Any
    again: Any
    note: Any
    cards: Any
    opened: Any  # state: the job that is shown


def create(tab: Any) -> History:
    """Lay out the tab."""
    screen = gr.HTML("", elem_id="th-opened")
    again = gr.Button("Use these settings again", visible=False, size="md", elem_id="th-past-again")
    sheet = gr.HTML("")
    note = gr.HTML("", elem_id="th-history-note")
    cards = gr.HTML(html.history((), {}), js_on_load=CLICKS, elem_id="th-history")
    return History(tab, screen, sheet, again, note, cards, gr.State({}))


def listed(site: Site, client: Client, ability: Json, session: list[Json]) -> str:
    """Return the cards of all jobs, newest first."""
    if not ability.get("ours"):
        return html.history([{**job, "kept": False} for job in reversed(session)], {})
    jobs = client.jobs(SHOWN)["jobs"]
    shown = [job for job in jobs if job.get("action", "talk") == "talk"]
    links = {job["id"]: _thumbnail(site, client, job) for job in shown if job.get("thumbnail")}
    return html.history(shown, links)


def _thumbnail(site: Site, client: Client, job: Json) -> str:
    made = {"url": job["thumbnail"], "mime": "image/jpeg", "sha256": f"thumbnail-{job['id'][:64]}"}
    try:
        return site.link(client, made)
    except TalkheadError:
        return ""  # a card without a picture says as much


def opened(site: Site, client: Client, job_id: str, session: list[Json]) -> tuple[str, str, Json]:
    """Return the player, the sheet, and the job to use again."""
    job = next((job for job in session if job["id"] == job_id), None) or client.job(job_id)
    made = replies.result(client.status(job_id))
    player, sheet = stage.shown_result(site, client, job_id, job.get("input"), made)
    return player, sheet, {"payload": job.get("input"), "seed": made.get("seed")}


def wire(site: Site, page: History, place: Any, ability: Any, session: Any, follow: Any) -> None:
    """Connect the tab; `follow` is a state that takes the id of a job to watch."""

    def load(place: Json, ability: Json, session: list[Json]) -> tuple[str, str]:
        try:
            with site.open(place) as client:
                return listed(site, client, ability, session), ""
        except TalkheadError as error:
            return "", html.trouble(telling.trouble(error))

    def refreshed(sought: bool, *known: Any) -> tuple[Any, Any]:
        return load(*known) if sought else (gr.skip(), gr.skip())

    def act(place: Json, ability: Json, session: list[Json], event: gr.EventData) -> dict[Any, Any]:
        does, job_id = event._data.get("do"), str(event._data.get("id"))
        try:
            with site.open(place) as client:
                done = _acted(site, client, page, does, job_id, session)
                if does in ("retry", "follow"):
                    return done | {follow: job_id}
                if does == "open":
                    return done
                return done | {page.cards: listed(site, client, ability, session)}
        except TalkheadError as error:
            return {page.note: html.trouble(telling.trouble(error))}

    quiet: Json = {"show_progress": "hidden", "api_visibility": "private"}
    known = [place, ability, session]
    sought, listing = gr.State(False), [page.cards, page.note]
    page.tab.select(lambda: True, None, sought, queue=False, **quiet)
    page.tab.select(load, known, listing, **quiet)
    # the tab may have been opened before its server was known, or that one may be another now
    ability.change(refreshed, [sought, *known], listing, **quiet)
    shown = [page.screen, page.sheet, page.again, page.note, page.cards, page.opened, follow]
    page.cards.click(act, known, shown, **quiet).then(
        None, js="() => document.getElementById('th-opened').scrollIntoView({block: 'nearest'})",
        api_visibility="private",
    )  # fmt: skip


def _acted(
    site: Site, client: Client, page: History, does: object, job_id: str, session: list[Json]
) -> dict[Any, Any]:
    if does == "open":
        player, sheet, job = opened(site, client, job_id, session)
        again = gr.Button(visible=bool(job["payload"]))
        return {page.screen: player, page.sheet: sheet, page.again: again, page.opened: job,
                page.note: ""}  # fmt: skip
    if does == "delete":
        client.forget(job_id)
        cleared = gr.Button(visible=False)
        return {page.note: html.note("Deleted."), page.screen: "", page.sheet: "",
                page.again: cleared}  # fmt: skip
    if does == "retry":
        client.retry(job_id)
    return {}
