"""The tables of docs/contract.md, made from the models so that the page cannot be wrong."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from talkhead import settings
from talkhead.engines.draft.options import Options
from talkhead.errors import EXIT_CODES, RETRYABLE, Code, TalkheadError
from talkhead.request import (
    Animate,
    Batch,
    File,
    Health,
    Memory,
    Output,
    Portrait,
    Sampling,
    Size,
    Speak,
    Speaker,
    Talk,
)
from talkhead.result import (
    Ability,
    Component,
    Cost,
    Error,
    FaceFound,
    ItemEnd,
    Made,
    Notice,
    Place,
    PlanReport,
    Result,
    Resumed,
    Stage,
    Total,
)
from talkhead.serve import logs, schema

Model = type[BaseModel]

MEANINGS: dict[Code, str] = {
    Code.INPUT: "the request, or a file that is not what it should be",
    Code.DOWNLOAD: "a reference could not be fetched",
    Code.MEDIA: "a playlist, a picture over 32 megapixels, more than a file may hold",
    Code.NO_FACE: "no face, too small, or fewer than speakers",
    Code.AUDIO: "no sound in a file",
    Code.WEIGHTS: "weights or an engine that do not load",
    Code.OOM: "out of memory; the next try meets a fresh process",
    Code.GENERATION: "a bug in an engine",
    Code.ENCODE: "encoding or joining failed",
    Code.STORE: "the result could not be stored; the finished job is kept",
    Code.TIMEOUT: "the deadline has passed; with `late: refuse`, it would by the estimate",
    Code.CANCELLED: "Ctrl-C, SIGTERM, or the platform's cancel",
    Code.CAPACITY: "the disk is full, a process was lost, or another one works on the job",
    Code.UNSUPPORTED: "this installation or version does not have it",
    Code.INTERNAL: "a bug",
}
_BLOCK = re.compile(r"(<!-- generated: ([\w.\-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return a page with each of its generated blocks made anew, or raise E_INPUT_VALIDATION."""
    unknown = [name for _, name, _ in _BLOCK.findall(page) if name not in BLOCKS]
    if unknown:
        raise TalkheadError(
            Code.INPUT,
            f"no generated block is called {unknown[0]!r}",
            f"known: {', '.join(BLOCKS)}",
        )
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", page)


def rewrite(path: Path) -> bool:
    """Make the generated blocks of a file anew; return whether it differed."""
    try:
        old = path.read_text(encoding="utf-8")
        new = rewritten(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
    except OSError as error:
        raise TalkheadError(
            Code.INPUT, f"cannot rewrite {path}: {error.strerror}", "name a page that exists"
        ) from error
    return new != old


def fields(model: Model, *, defaults: bool = True) -> str:
    """Return a table of a model's fields."""
    whole = model.model_json_schema()  # a model that holds itself lies among its own parts
    shapes = (whole if "properties" in whole else whole["$defs"][model.__name__])["properties"]
    head = ("field", "type", *(("default",) if defaults else ()), "meaning")
    rows = [
        (
            f"`{name}`",
            _kind(shapes[name]),
            *((_default(field),) if defaults else ()),
            _meaning(field, shapes[name]),
        )
        for name, field in _own_first(model)
        if name != "action"
    ]
    return _table(head, rows)


def _own_first(model: Model) -> list[tuple[str, FieldInfo]]:
    """Return a model's fields, those that it shares with others last."""
    bases = model.__mro__

    def depth(item: tuple[str, FieldInfo]) -> int:
        return max(
            at for at, base in enumerate(bases) if item[0] in vars(base).get("__annotations__", ())
        )

    return sorted(model.model_fields.items(), key=depth)


def _operator() -> str:
    rows = list(_variables(settings.Settings, "TALKHEAD_"))
    return _table(("variable", "type", "default", "meaning"), rows)


def _store(model: Model) -> Callable[[], str]:
    def made() -> str:
        rows = list(_variables(model, "TALKHEAD_STORE__"))
        return _table(("variable", "type", "default", "meaning"), rows)

    return made


def _variables(model: Model, prefix: str) -> Iterator[tuple[str, ...]]:
    shapes = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _variables(field.annotation, f"{variable}__")
        elif prefix == "TALKHEAD_" and name == "store":
            yield f"`{variable}__…`", "", "`local`", f"{field.description}; see the tables below"
        elif name != "kind":  # which table it is
            kind = _kind(shapes[name])
            yield f"`{variable}`", kind, _default(field), _meaning(field, shapes[name])


def _codes() -> str:
    rows = [
        (code.value, str(EXIT_CODES[code]), "yes" if code in RETRYABLE else "", MEANINGS[code])
        for code in sorted(Code, key=lambda code: (EXIT_CODES[code], code.value))
    ]
    return _table(("code", "exit", "retryable", "meaning"), rows)


def _events() -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in logs.EVENTS.items()]
    return _table(("event", "when"), rows)


def _stages() -> str:
    return "Stages: " + ", ".join(f"`{stage}`" for stage in get_args(Stage)) + "."


def _examples() -> str:
    shown = [json.dumps(example, indent=2) for example in schema.EXAMPLES.values()]
    return "\n\n".join(f"```json\n{example}\n```" for example in shown)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "\n".join(f"| {line} |".replace("|  |", "| |").replace("|  |", "| |") for line in cells)


def _meaning(field: FieldInfo, shape: Mapping[str, Any]) -> str:
    limits = next((found for part in _parts(shape) if (found := _limits(part))), "")
    return "; ".join(part for part in (field.description or "", limits) if part)


def _parts(shape: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the alternatives of a schema, null left out."""
    found = shape.get("anyOf") or shape.get("oneOf") or [shape]
    return [part for part in found if part.get("type") != "null"]


def _kind(shape: Mapping[str, Any]) -> str:
    return " or ".join(dict.fromkeys(_simple(part) for part in _parts(shape)))


def _simple(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    if "$ref" in part:
        return str(part["$ref"]).rsplit("/", 1)[-1]
    if part.get("type") == "array":
        return _array(part)
    if part.get("format") == "path":
        return "path"
    names = {"integer": "whole number", "boolean": "true, false", "string": "text"}
    kind = str(part.get("type", "any"))
    return names.get(kind, kind)


def _array(part: Mapping[str, Any]) -> str:
    if "prefixItems" in part:
        return f"{len(part['prefixItems'])} {_kind(part['prefixItems'][0])}s"
    return f"list of {_kind(part['items'])}"


def _limits(part: Mapping[str, Any]) -> str:
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum", part.get("exclusiveMaximum"))
    more = "above " if "exclusiveMinimum" in part else ""
    if low is not None and high is not None:
        return f"{more}{low:,} to {high:,}"
    if low is not None:
        return f"{more}{low:,}" if more else f"at least {low:,}"
    for name, what in (("maxLength", "characters"), ("maxItems", "of them")):
        if name in part:
            return f"up to {part[name]:,} {what}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel | SecretStr):
        return ""
    if isinstance(value, str | PurePath):
        return f"`{_homely(value)}`" if str(value) else "empty"
    return f"`{json.dumps(value, default=_homely)}`"


def _homely(value: object) -> str:
    """Return a path as it is for everybody, not for the one who writes this page."""
    return str(value).replace(str(settings.cache_folder().parent), "~/.cache")


def _of(model: Model, *, defaults: bool = True) -> Callable[[], str]:
    return lambda: fields(model, defaults=defaults)


BLOCKS: dict[str, Callable[[], str]] = {
    "talk": _of(Talk),
    "animate": _of(Animate),
    "portrait": _of(Portrait),
    "speak": _of(Speak),
    "batch": _of(Batch),
    "health": _of(Health),
    "file": _of(File),
    "speaker": _of(Speaker),
    "size": _of(Size),
    "sampling": _of(Sampling),
    "memory": _of(Memory),
    "output": _of(Output),
    "draft-options": _of(Options),
    "result": _of(Result, defaults=False),
    "made": _of(Made, defaults=False),
    "plan": _of(PlanReport, defaults=False),
    "face": _of(FaceFound, defaults=False),
    "resumed": _of(Resumed, defaults=False),
    "item-end": _of(ItemEnd, defaults=False),
    "item-error": _of(Error, defaults=False),
    "total": _of(Total, defaults=False),
    "cost": _of(Cost, defaults=False),
    "notice": _of(Notice, defaults=False),
    "ability": _of(Ability, defaults=False),
    "component": _of(Component, defaults=False),
    "place": _of(Place, defaults=False),
    "codes": _codes,
    "settings": _operator,
    "store-local": _store(settings.Local),
    "store-s3": _store(settings.S3),
    "store-supabase": _store(settings.Supabase),
    "store-inline": _store(settings.Inline),
    "events": _events,
    "stages": _stages,
    "examples": _examples,
}
