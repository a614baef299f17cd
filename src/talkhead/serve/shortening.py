"""Answers are shortened where they are too large, in a fixed order, the least needed first."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from talkhead.result import Notice

ROOM_TO_TELL = 512  # bytes for the notice of what went
NOTICES, NOTICE = 20, 300  # warnings and their characters in an answer that is too large

Body = dict[str, Any]


def lean(value: Any) -> Any:
    """Return a wire value without members that say nothing: None and empty containers."""
    if isinstance(value, Mapping):
        held = {name: lean(item) for name, item in value.items()}
        return {name: item for name, item in held.items() if item not in (None, {}, [])}
    if isinstance(value, list | tuple):
        return [lean(item) for item in value]
    return value


def size(body: Body) -> int:
    """Return the bytes of an answer on the wire."""
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def cut(text: str, most: int) -> str:
    """Return text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def fitted(body: Body, room: int, gone: Sequence[str] = ()) -> Body:
    """Return the answer, shortened in a fixed order where it is over `room` bytes.

    Keys, URLs and digests stay whatever happens; W_SHORTENED names what went, `gone` included.
    """
    gone = [*gone]
    for name, shorten in CUTS:
        if size(body) <= room - ROOM_TO_TELL:
            break
        if shorten(body):
            gone.append(name)
    if gone:
        message = f"left out of an answer that was too large: {', '.join(gone)}"
        notice = Notice(code="W_SHORTENED", message=message, field="result")
        result = body["result"]
        result["warnings"] = [lean(notice.model_dump()), *result.get("warnings", ())]
    return body


def wires(result: Body) -> list[Body]:
    """Return the wire form of a result, and of those of its items."""
    return [result, *(end["result"] for end in result.get("items", ()) if "result" in end)]


def _shapes(body: Body) -> list[Body]:
    """Return what a family has beside `result`, and the same of each of its items."""
    items = body.get("items", ())
    return [body, *(item["result"] for item in items if isinstance(item.get("result"), dict))]


def _fewer_warnings(body: Body) -> bool:
    found = False
    for result in wires(body["result"]):
        told = result.get("warnings", [])
        short = [{**notice, "message": cut(notice["message"], NOTICE)} for notice in told[:NOTICES]]
        if short != told:
            found, result["warnings"] = True, short
    for shape in _shapes(body):  # some families have lines of their own
        lines = shape.get("warnings", [])
        short_lines = [cut(line, NOTICE) for line in lines[:NOTICES]]
        if short_lines != lines:
            found, shape["warnings"] = True, short_lines
    return found


def _no_warnings(body: Body) -> bool:
    for shape in _shapes(body):
        if "warnings" in shape:
            shape["warnings"] = []
    return _without("warnings")(body)


def _no_facts(body: Body) -> bool:
    made = [made for each in wires(body["result"]) for made in each.get("outputs", ())]
    found = [item.pop("facts", None) for item in made]
    return any(found)


def _short_errors(body: Body) -> bool:
    errors = [end["error"] for end in body["result"].get("items", ()) if "error" in end]
    errors += [shape["error"] for shape in _shapes(body)[1:] if "error" in shape]
    for error in errors:
        for name, text in error.items():
            if isinstance(text, str):
                error[name] = cut(text, NOTICE)
        error["fields"] = error.get("fields", [])[:1]
    return bool(errors)


def _without(*path: str) -> Callable[[Body], bool]:
    def shorten(body: Body) -> bool:
        found = []
        for held in wires(body["result"]):
            inner = reduce(lambda outer, name: outer.get(name, {}), path[:-1], held)
            found.append(inner.pop(path[-1], None) is not None)
        return any(found)

    return shorten


# What an answer can do without, the least needed first.
CUTS: tuple[tuple[str, Callable[[Body], bool]], ...] = (
    ("warnings in full", _fewer_warnings),
    ("plan.faces", _without("plan", "faces")),
    ("outputs.facts", _no_facts),
    ("score", _without("score")),
    ("ability", _without("ability")),
    ("seconds", _without("seconds")),
    ("plan", _without("plan")),
    ("warnings", _no_warnings),
    ("errors in full", _short_errors),
)
