"""Outside input becomes a request here, and nowhere else."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from talkhead.errors import Code, TalkheadError
from talkhead.request import (
    ACTIONS,
    ITEM_ACTIONS,
    LATER_ACTIONS,
    Memory,
    Output,
    Request,
    Sampling,
    Size,
    Speaker,
)

Model = TypeVar("Model", bound=BaseModel)
MOST = 30  # problems that one error names
LONGEST = 100  # characters of a name that a payload brought


def parse(payload: object) -> Request:
    """Return the request in payload, or raise E_INPUT_VALIDATION naming each bad field.

    A known action that nothing here serves is E_UNSUPPORTED.
    """
    if not isinstance(payload, Mapping):
        raise TalkheadError(Code.INPUT, "a request is a JSON object", 'try {"action": "health"}')
    action = payload.get("action", "talk")
    if isinstance(action, str) and action in LATER_ACTIONS:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"action {action!r} is not available in this installation",
            f"available actions: {', '.join(ACTIONS)}",
            fields=["action"],
        )
    if not isinstance(action, str) or action not in ACTIONS:
        # what is no text may be too deep to be written
        shown = action[:LONGEST] if isinstance(action, str) else type(action).__name__
        near = difflib.get_close_matches(shown, [*ACTIONS, *LATER_ACTIONS], 1)
        raise TalkheadError(
            Code.INPUT,
            f"unknown action {shown!r}" + (f": did you mean {near[0]!r}?" if near else ""),
            f"available actions: {', '.join(ACTIONS)}",
            fields=["action"],
        )
    return validate(ACTIONS[action], {**payload, "action": action})


def validate(model: type[Model], values: object, prefix: str = "") -> Model:
    """Return values as a model, or raise E_INPUT_VALIDATION naming each bad field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = _own_problems(error)
        problems = found[:MOST]
        lines = [_line(model, problem, prefix) for problem in problems]
        if len(found) > MOST:
            lines.append(f"and {len(found) - MOST} more")
        fields = [_path(_place(problem), prefix) for problem in problems]
        raise TalkheadError(
            Code.INPUT, "; ".join(lines), "correct the named fields", fields=fields
        ) from error


def _own_problems(error: ValidationError) -> list[Any]:
    """Return the problems less those that only follow from one deeper inside."""
    problems = error.errors(include_url=False, include_input=False)
    locs = [problem["loc"] for problem in problems]
    above = {loc[:depth] for loc in locs for depth in range(len(loc))}
    return [problem for problem in problems if problem["loc"] not in above]


def _place(problem: Any) -> tuple[int | str, ...]:
    """Return where a problem lies in the payload."""
    loc: tuple[int | str, ...] = problem["loc"]
    if problem["type"] == "item_action":
        return (*loc, "action")
    if len(loc) > 2 and loc[0] == "items" and loc[2] in ITEM_ACTIONS:
        return (*loc[:2], *loc[3:])  # without the name of the item's model
    return loc


def _path(loc: tuple[int | str, ...], prefix: str) -> str:
    return ".".join([*([prefix] if prefix else []), *map(_printable, loc)])


def _printable(name: int | str) -> str:
    """Return a name from a payload without what would act on a terminal."""
    shown = str(name)[:LONGEST]
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def _line(model: type[BaseModel], problem: Any, prefix: str) -> str:
    loc, path = problem["loc"], _path(_place(problem), prefix) or "request"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1])[:LONGEST], known, 1)
        return f"{path}: unknown field" + (f", did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"{path}: missing"
    return f"{path}: {problem['msg'].removeprefix('Value error, ')}"


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that lies at loc inside model."""
    nested: dict[str, type[BaseModel]] = {
        **{name: ACTIONS[name] for name in ITEM_ACTIONS},
        "speakers": Speaker,
        "output": Output,
        "sampling": Sampling,
        "memory": Memory,
        "size": Size,
    }
    names = [part for part in loc if isinstance(part, str)]
    return list((nested.get(names[-1], model) if names else model).model_fields)
