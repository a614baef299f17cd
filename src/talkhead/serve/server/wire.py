"""Jobs as callers see them: RunPod's words for a state, and the entries of the history."""

import re
from typing import Any

from talkhead.serve.dispatch import Live, failure
from talkhead.serve.queue import Entry

# with plans: questions, which the history does not list
ASIDE = ("health", "capabilities", "uploads")
SHORT = 200  # characters of a file, a data: URI or plain base64, in a request that is shown
FILE = re.compile(r"data:.*|[A-Za-z0-9+/=_\-\r\n]*", re.DOTALL)

Body = dict[str, Any]


def status(entry: Entry, live: Live | None, ahead: int | None = None) -> Body:
    """Return the answer to /status."""
    shown: Body = {"id": entry.id, "status": entry.status}
    if entry.began is not None:
        shown["delayTime"] = round(1000 * (entry.began - entry.queued))
        shown["workerId"] = entry.lane
        if entry.ended is not None:
            shown["executionTime"] = round(1000 * (entry.ended - entry.began))
    if entry.attempt > 1:
        shown["retries"] = entry.attempt - 1
    if ahead is not None and entry.status == "IN_QUEUE":
        shown["position"] = ahead + 1
    output = live.progress if entry.status == "IN_PROGRESS" and live else entry.output
    if output is not None:
        shown["output"] = output
    if entry.error is not None:
        shown["error"] = entry.error
    return shown


def listed(entry: Entry) -> Body:
    """Return one line of the history."""
    shown: Body = {
        "id": entry.id,
        "status": entry.status,
        "created": round(entry.queued, 3),
        **entry.facts,
    }
    if entry.began is not None and entry.ended is not None:
        shown["seconds"] = round(entry.ended - entry.began, 3)
    if code := failure(entry.error).get("code"):
        shown["error_code"] = code
    result = (entry.output or {}).get("result") or {}
    if result.get("engine"):
        shown["engine"] = result["engine"]
    first: Body = next((end["result"] for end in result.get("items") or () if "result" in end), {})
    for made in result.get("outputs") or first.get("outputs") or ():
        if made.get("url") and made["kind"] in ("video", "thumbnail", "audio"):
            shown.setdefault(made["kind"], made["url"])
    return shown


def facts(payload: Any) -> Body:
    """Return what the history shows of a request before it is read in earnest."""
    held = payload if isinstance(payload, dict) else {}
    action, engine = held.get("action", "talk"), held.get("engine")
    shown: Body = {"action": action if isinstance(action, str) else "talk"}
    if isinstance(engine, str) and engine != "auto":
        shown["engine"] = engine[:SHORT]
    if held.get("dry_run") is True or action in ASIDE:
        shown["aside"] = True
    if isinstance(key := held.get("idempotency_key"), str):
        shown["key"] = key[:SHORT]
    if title := _title(held):
        shown["title"] = title
    return shown


def _title(held: Body) -> str:
    """Return words by which a person knows a request again: what is said, or asked for."""
    speakers = held.get("speakers")
    first = speakers[0] if isinstance(speakers, list) and speakers else {}
    texts = [first.get("text") if isinstance(first, dict) else None]
    texts += [held.get("text"), held.get("prompt"), held.get("portrait"), held.get("video")]
    for text in texts:
        if isinstance(text, str) and text.strip() and not text.startswith("data:"):
            line = " ".join(text.split())
            return line if len(line) <= 80 else f"{line[:79]}…"
    return ""


def shortened(value: Any) -> Any:
    """Return a request with the files that travel in it cut; what is to be said stays whole."""
    if isinstance(value, str):
        is_file = len(value) > SHORT and FILE.fullmatch(value)
        return f"{value[: SHORT - 1]}…" if is_file else value
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return value
