"""An engine's own options: from its JSON Schema to what a form needs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "whole", "choice", "switch", "text"]
UNSET = ""  # of a choice: the engine's own


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an engine as a form shows it. Unset means the engine's default."""

    name: str
    kind: Kind
    label: str
    help: str
    default: str  # in words; empty where there is none to name
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()


def options(schema: Mapping[str, Any] | None) -> list[Option]:
    """Return the options that a JSON Schema describes; what no form can hold is left out."""
    properties = (schema or {}).get("properties", {})
    return [option for name, shape in properties.items() if (option := _option(name, shape))]


def value(option: Option, given: Any) -> Any:
    """Return what a form's value stands for; None is unset."""
    if given in (None, UNSET):
        return None
    if option.kind == "switch":
        return given == "yes"
    if option.kind == "choice":
        return next((choice for choice in option.choices if str(choice) == str(given)), None)
    if option.kind in ("number", "whole"):
        return _number(str(given))
    return str(given)


def shown(option: Option, held: Any) -> Any:
    """Return the form's value for one that a request holds."""
    if option.kind == "switch":
        return UNSET if held is None else "yes" if held else "no"
    if option.kind == "choice":
        return UNSET if held is None else str(held)
    return "" if held is None else str(held)


def _number(word: str) -> Any:
    """Return a number where it is one; the server names the option whose text is none."""
    word = word.strip().replace(",", ".")
    try:
        return int(word) if word.lstrip("-").isdigit() else float(word)
    except ValueError:
        return word or None


def _option(name: str, shape: Mapping[str, Any]) -> Option | None:
    part = next(_parts(shape), None)
    kind = _kind(part) if part is not None else None
    if part is None or kind is None:
        return None
    low = part.get("minimum", part.get("exclusiveMinimum"))
    high = part.get("maximum", part.get("exclusiveMaximum"))
    return Option(
        name=name,
        kind=kind,
        label=name.replace("_", " ").capitalize(),
        help=_help(str(shape.get("description") or ""), low, high),
        default=_default(shape.get("default")),
        low=low,
        high=high,
        choices=tuple(part.get("enum", ())),
    )


def _parts(shape: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a schema, null left out."""
    for part in shape.get("anyOf") or shape.get("oneOf") or (shape,):
        if part.get("type") != "null":
            yield part


def _kind(part: Mapping[str, Any]) -> Kind | None:
    if "enum" in part:
        return "choice"
    kinds: dict[str, Kind] = {
        "number": "number",
        "integer": "whole",
        "boolean": "switch",
        "string": "text",
    }
    return kinds.get(str(part.get("type")))


def _help(description: str, low: float | None, high: float | None) -> str:
    limits = f"{low:g} to {high:g}" if low is not None and high is not None else ""
    text = "; ".join(part for part in (description, limits) if part)
    return text[:1].upper() + text[1:]


def _default(held: Any) -> str:
    if isinstance(held, bool):
        return "yes" if held else "no"
    return "" if held is None else f"{held:g}" if isinstance(held, float) else str(held)
