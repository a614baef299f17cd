"""Fragments of the page that are no form. Pure: all text is escaped, nothing comes from elsewhere.

What carries `data-do` is a click that act.js hands to Python with its other data attributes.
"""

import html
import time
from collections.abc import Mapping, Sequence
from typing import Any

from talkhead.serve.ui import telling
from talkhead.serve.ui.telling import Moment, Trouble

Json = Mapping[str, Any]


def esc(text: object) -> str:
    """Return text as HTML shows it."""
    return html.escape(str(text), quote=True)


def head() -> str:
    """Return the page's title."""
    return (
        '<header class="th-head"><h1>talkhead</h1>'
        "<p>A portrait and speech in, a talking video out.</p></header>"
    )


def empty(missing: str) -> str:
    """Return what stands where the video will be."""
    return (
        '<div class="th-empty"><div class="th-empty-mark" aria-hidden="true"></div>'
        f"<p>{esc(missing)}</p></div>"
    )


def note(text: str, kind: str = "info") -> str:
    """Return a short remark."""
    return f'<p class="th-note th-{kind}">{esc(text)}</p>' if text else ""


def returned(remarks: Sequence[str]) -> str:
    """Return what is to be said where an earlier job's settings have come back."""
    if not remarks:
        return note("Settings and files are back.", "good")
    items = "".join(f"<li>{esc(remark)}</li>" for remark in remarks)
    inner = f'<h2>Not all came back</h2><ul class="th-hints">{items}</ul>'
    return f'<section class="th-card" aria-label="Not all came back">{inner}</section>'


def trouble(found: Trouble) -> str:
    """Return an error: what was wrong, what to do, where."""
    places = ""
    if found.places:
        places = f'<p class="th-where">Look at: <strong>{esc(", ".join(found.places))}</strong></p>'
    hint = f"<p>{esc(found.hint)}</p>" if found.hint else ""
    return (
        f'<section class="th-card th-trouble" role="alert"><h2>{esc(found.title)}</h2>'
        f'<p class="th-what">{esc(found.what)}</p>{hint}{places}'
        f'<p class="th-code">{esc(found.code)}</p></section>'
    )


def plan(pairs: Sequence[tuple[str, str]], warnings: Sequence[str]) -> str:
    """Return a plan as a list of facts."""
    inner = f"<h2>Plan</h2>{facts(pairs)}{hints(warnings)}"
    return f'<section class="th-card" aria-label="Plan">{inner}</section>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return pairs of a name and a value."""
    items = "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(said)}</dd></div>" for name, said in pairs)
    return f'<dl class="th-facts">{items}</dl>' if items else ""


def hints(sentences: Sequence[str]) -> str:
    """Return warnings as a list."""
    items = "".join(f"<li>{esc(sentence)}</li>" for sentence in sentences)
    return f'<ul class="th-hints">{items}</ul>' if items else ""


def progress(now: Moment) -> str:
    """Return the stage, a bar and what is left."""
    return (
        '<section class="th-card th-run">'
        f"<h2>{esc(now.stage)}<span>{now.percent:.0f} %</span></h2>"
        f'<div class="th-bar" role="progressbar" aria-label="{esc(now.stage)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{now.percent:.0f}">'
        f'<div style="width:{max(1.0, now.percent):.1f}%"></div></div>'
        f"<p>{esc(now.detail) or '&nbsp;'}</p></section>"
    )


def video(link: str, *, label: str, key: str, poster: str = "", playing: bool = False) -> str:
    """Return a player; those of the same key keep their place when the file changes."""
    still = f' poster="{esc(poster)}"' if poster else ""
    goes = " autoplay muted" if playing else ""
    return (
        f'<video class="th-video" controls playsinline preload="metadata" data-keep="{esc(key)}" '
        f'aria-label="{esc(label)}" src="{esc(link)}"{still}{goes}></video>'
    )


def audio(link: str, label: str) -> str:
    """Return a player of sound that starts by itself: it answers a click."""
    named = f'aria-label="{esc(label)}" src="{esc(link)}"'
    return f'<audio class="th-audio" controls autoplay {named}></audio>'


def captioned(player: str, caption: str) -> str:
    """Return a player with a line under it."""
    return f'<figure class="th-figure">{player}<figcaption>{esc(caption)}</figcaption></figure>'


def result(made: Json, payload: Json | None, download: str, name: str) -> str:
    """Return what belongs to a finished video: download, facts, warnings, seconds, settings."""
    video_facts = _video_facts(made)
    found = _video_of(made)
    size = telling.size(float(found.get("bytes") or 0))
    link = (
        f'<p class="th-actions"><a class="th-button" href="{esc(download)}" download="{esc(name)}">'
        f"Download <span>MP4, {size}</span></a></p>"
    )
    stages = telling.stages(made.get("seconds") or {})
    timing = ""
    if stages:
        timing = f"<details><summary>Time by stage</summary>{facts(stages)}</details>"
    again = " It had been made before and was not made again." if made.get("repeated") else ""
    return (
        f'<section class="th-card" aria-label="Result"><h2>Your video is ready.{again}</h2>{link}'
        f"{facts(video_facts)}{hints(telling.warnings(made.get('warnings') or ()))}{timing}"
        f"{settings(payload, made.get('seed'))}</section>"
    )


def _video_of(made: Json) -> Json:
    return next((item for item in made.get("outputs", ()) if item["kind"] == "video"), {})


def _video_facts(made: Json) -> list[tuple[str, str]]:
    found = _video_of(made)
    facts_of = found.get("facts") or {}
    pairs = []
    if facts_of.get("seconds"):
        pairs.append(("Length", telling.duration(float(facts_of["seconds"]))))
    if facts_of.get("width"):
        pairs.append(("Picture", f"{facts_of['width']} × {facts_of['height']}"))
    if made.get("engine"):
        pairs.append(("Engine", str(made["engine"])))
    if cost := telling.spent(made.get("cost")):
        pairs.append(("Cost", cost))
    if made.get("seed") is not None:
        pairs.append(("Seed", str(made["seed"])))
    if sync := telling.score(made.get("score")):
        pairs.append(("Lip sync", sync))
    return pairs


def settings(payload: Json | None, seed: int | None) -> str:
    """Return a request as JSON that can be copied."""
    if not payload:
        return ""
    return (
        "<details><summary>Settings</summary>"
        '<p class="th-actions"><button type="button" class="th-small" data-copy>Copy</button></p>'
        f"<pre tabindex='0'>{esc(telling.settings(payload, seed))}</pre></details>"
    )


def picture(
    link: str, size: tuple[int, int], faces: Sequence[Json], boxes: Mapping[str, Sequence[float]],
    two: bool,
) -> str:  # fmt: skip
    """Return the portrait with its faces numbered; with two speakers, a click gives one a face."""
    width, height = size
    marks = "".join(_face(at, face["box"], size, two) for at, face in enumerate(faces))
    given = ""
    if two:
        given = "".join(
            f'<span class="th-box th-box-{int(at) + 1}" {_placed(boxes[at], size)}>'
            f"<b>Speaker {int(at) + 1}</b></span>"
            for at in ("0", "1")
            if len(boxes.get(at, ())) == 4
        )
        if corner := boxes.get("corner"):
            place = _placed((*corner, *corner), size)
            given += f'<span class="th-corner" {place}></span>'
    act = 'data-do="point"' if two else ""
    return (
        f'<div class="th-frame" {act} data-width="{width}" data-height="{height}" '
        f'style="aspect-ratio:{width}/{height};max-width:calc(60vh * {width} / {height})">'
        f'<img src="{esc(link)}" alt="Your portrait, {_count(len(faces))} found" draggable="false">'
        f"{marks}{given}</div>"
    )


def _face(at: int, box: Sequence[float], size: tuple[int, int], two: bool) -> str:
    if not two:
        return f'<span class="th-face" {_placed(box, size)}><i>{at + 1}</i></span>'
    return (
        f'<button type="button" class="th-face" data-do="face" data-at="{at}" {_placed(box, size)} '
        f'aria-label="Face {at + 1}: choose it for this speaker"><i>{at + 1}</i></button>'
    )


def _placed(box: Sequence[float], size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = box
    width, height = size
    return (
        f'style="left:{100 * x0 / width:.2f}%;top:{100 * y0 / height:.2f}%;'
        f'width:{100 * (x1 - x0) / width:.2f}%;height:{100 * (y1 - y0) / height:.2f}%"'
    )


def _count(faces: int) -> str:
    return "one face" if faces == 1 else f"{faces or 'no'} faces"


def lacking(components: Sequence[Json], what: str) -> str:
    """Return what is not installed, and how to get it."""
    rows = "".join(
        f"<li><strong>{esc(item['name'])}</strong> <span>{esc(item.get('detail') or '')}</span>"
        + (f"<code>{esc(item['fix'])}</code>" if item.get("fix") else "")
        + "</li>"
        for item in components
        if not item.get("ready")
    )
    if not rows:
        return ""
    return f'<details class="th-lacking"><summary>{esc(what)}</summary><ul>{rows}</ul></details>'


def samples(pictures: Sequence[tuple[str, str]]) -> str:
    """Return example portraits to choose from: (name, link)."""
    items = "".join(
        f'<button type="button" class="th-sample" data-do="sample" data-name="{esc(name)}" '
        f'aria-label="Use the example portrait {esc(name)}"><img src="{esc(link)}" alt=""></button>'
        for name, link in pictures
    )
    return f'<div class="th-samples"><span>No photo at hand? Try an example:</span>{items}</div>'


def history(jobs: Sequence[Json], links: Mapping[str, str]) -> str:
    """Return the jobs as cards, newest first; `links` are their thumbnails."""
    if not jobs:
        return empty("Nothing yet. What you make will be here.")
    cards = "".join(_card(job, links.get(job["id"], "")) for job in jobs)
    return f'<ul class="th-jobs">{cards}</ul>'


def _card(job: Json, thumbnail: str) -> str:
    job_id, status = esc(job["id"]), str(job.get("status"))
    title = esc(job.get("title") or job.get("action") or "Job")
    image = f'<img src="{esc(thumbnail)}" alt="" loading="lazy">' if thumbnail else ""
    parts = [telling.STATUSES.get(status, status), str(job.get("engine") or "")]
    if job.get("seconds"):
        parts.append(telling.duration(float(job["seconds"])))
    parts.append(_ago(job.get("created")))
    line = " · ".join(esc(part) for part in parts if part)
    ended = status not in ("IN_QUEUE", "IN_PROGRESS")
    acts = [("open", "Open")] if status == "COMPLETED" else []
    acts += [("retry", "Try again")] if status in ("FAILED", "TIMED_OUT", "CANCELLED") else []
    acts += [] if ended else [("follow", "Watch")]
    acts += [("delete", "Delete")] if ended and job.get("kept", True) else []
    buttons = "".join(
        f'<button type="button" class="th-small" data-do="{act}" data-id="{job_id}"'
        f'{" data-sure" if act == "delete" else ""} aria-label="{label}: {title}">{label}</button>'
        for act, label in acts
    )
    return (
        f'<li class="th-job th-{status.lower()}"><div class="th-thumb">{image}</div>'
        f"<div><h3>{title}</h3><p>{line}</p><p class='th-actions'>{buttons}</p></div></li>"
    )


def _ago(created: object) -> str:
    if not isinstance(created, int | float):
        return ""
    past = max(0.0, time.time() - created)
    if past < 60:
        return "just now"
    if past < 3600:
        return f"{past / 60:.0f} min ago"
    return time.strftime("%d %b, %H:%M", time.localtime(created))
