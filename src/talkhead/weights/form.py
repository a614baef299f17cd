"""What a manifest may hold, checked field by field so that a mistake is named."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, NoReturn

Refuse = Callable[[str], NoReturn]  # raises for a message that begins with the field
Check = Callable[[Any], str]  # returns what a value is not, empty where it fits


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "not text"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "not true or false"


def _whole(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return "" if whole else "not a whole number from 0"


def _number(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return "" if number else "not a number from 0"


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value:
        return "not a path"
    inside = not value.startswith("/") and ".." not in PurePosixPath(value).parts
    return "" if inside and "\0" not in value else "not a path below its repo"


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        return "not text"
    try:
        re.compile(value)
    except re.error as error:
        return f"not a pattern: {error}"
    return ""


def _list(each: Check) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, list):
            return "not a list"
        return next((why for one in value if (why := each(one))), "")

    return check


def _table(each: Check) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return "not a table"
        return next((f"{name} is {why}" for name, one in value.items() if (why := each(one))), "")

    return check


def _recognise(value: Any) -> str:
    if not isinstance(value, dict):
        return "not a table"
    for name, one in value.items():
        if name not in RECOGNISE:
            return f"{name} is no field; known: {', '.join(RECOGNISE)}"
        if why := RECOGNISE[name](one):
            return f"{name} is {why}"
    return ""


def _merges(value: Any) -> str:
    if why := _list(_text)(value):
        return why
    return "" if len(value) == PARTS else "not three: base, delta and its config"


PARTS = 3
SHAPES = _table(_list(_whole))
RECOGNISE: dict[str, Check] = {
    "tensors": SHAPES,
    "dtype": _text,
    "dtype_of": _text,
    "file_type": _whole,
    "without": _list(_text),
    "named": _pattern,
    "smallest": _whole,
}
FIELDS: dict[str, dict[str, Check]] = {
    "repos": {
        "revision": _text,
        "licence": _text,
        "commercial": _flag,
        "url": _text,
        "local": _flag,
    },
    "files": {
        "repo": _text,
        "path": _path,
        "bytes": _whole,
        "about_gb": _number,
        "sha256": _text,
        "also": _list(_path),
        "shapes": SHAPES,
        "note": _text,
        "keep": _text,
        "part": _text,
        "recognise": _recognise,
        "merges": _merges,
    },
    "sets": {"about": _text, "files": _list(_text)},
}
NEEDED = {"repos": (), "files": ("repo", "path"), "sets": ("about", "files")}
ALTERNATIVES = "alternatives"


def check(table: Mapping[str, Any], refuse: Refuse) -> None:
    """Call `refuse` for the first thing in a manifest's tables that is not as it has to be."""
    for section, entries in table.items():
        if section != ALTERNATIVES and section not in FIELDS:
            refuse(f"{section}: no such section; known: {', '.join((*FIELDS, ALTERNATIVES))}")
        if not isinstance(entries, dict):
            refuse(f"{section}: not a table")
        for name, facts in entries.items():
            at = f"{section}.{name}"
            if section == ALTERNATIVES:
                if why := _list(_text)(facts):
                    refuse(f"{at}: {why}")
                continue
            if not isinstance(facts, dict):
                refuse(f"{at}: not a table")
            _fields(section, at, facts, refuse)


def _fields(section: str, at: str, facts: Mapping[str, Any], refuse: Refuse) -> None:
    known = FIELDS[section]
    for field, value in facts.items():
        if field not in known:
            refuse(f"{at}.{field}: no such field; known: {', '.join(known)}")
        if why := known[field](value):
            refuse(f"{at}.{field}: {why}")
    for field in NEEDED[section]:
        if field not in facts:
            refuse(f"{at}.{field}: missing")
