"""Errors of a canonical request in the words of the payload that it came from."""

from collections.abc import Mapping
from typing import Any

from talkhead.aliases.reading import CANONICAL, Reading
from talkhead.errors import Code, TalkheadError
from talkhead.request import LATER_ACTIONS


def retold(reading: Reading, error: TalkheadError) -> TalkheadError:
    """Return an error of the canonical request in the words of the payload that it came from."""
    names = {path: _old_name(reading, path) for path in error.fields}
    shown = {path: f"{old} ({path})" if old == "workflow" else old for path, old in names.items()}
    message, hint = _renamed(error.message, shown), error.hint
    wanted = next((found for path in names if (found := _wanted(reading.payload, path))), None)
    absent = error.code is Code.UNSUPPORTED
    if absent and wanted and reading.family != CANONICAL:
        hint += f'; an operator maps it by TALKHEAD_COMPAT_ENGINES=\'{{"{wanted}": "…"}}\''
    if reading.payload.get("action") == "workflow" and reading.family != CANONICAL:
        why = [notice.message for notice in reading.notices if notice.code == "W_GRAPH"]
        hint = "; ".join([*why, hint])
    told = TalkheadError(
        error.code,
        message,
        hint,
        fields=[*names.values()],
        stage=error.stage,
        retryable=error.retryable,
    )
    told.job_id = error.job_id
    return told.with_traceback(error.__traceback__)


def _wanted(payload: Mapping[str, Any], path: str) -> Any:
    """Return the engine or voice at that path of a request, or of an item of a batch."""
    *home, last = path.split(".")
    items = payload.get("items")
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if home == ["items", str(index)] and isinstance(item, Mapping):
            home, payload = [], item
    return payload.get(last) if not home and last in ("engine", "voice") else None


def _old_name(reading: Reading, path: str) -> str:
    """Return the key behind a canonical path: its own, or that of one inside it."""
    action = reading.payload.get("action")
    if path == "action" and action in LATER_ACTIONS and reading.family != CANONICAL:
        return str(action)  # the key that led to it has the same name
    inside = (old for at, old in reading.origins.items() if at.startswith(f"{path}."))
    return reading.origins.get(path) or next(inside, path)


def _renamed(message: str, names: Mapping[str, str]) -> str:
    """Return message with the names at the beginnings of its parts replaced."""
    parts = (part.partition(": ") for part in message.split("; "))
    return "; ".join(
        (names.get(path, path) if colon else path) + colon + rest for path, colon, rest in parts
    )
