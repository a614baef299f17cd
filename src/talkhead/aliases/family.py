"""What a family of older payloads is made of: plain tables and a few functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from talkhead.aliases.keys import UnfitError
from talkhead.result import Notice

Payload = Mapping[str, Any]
# A canonical request, flat: dotted path to value, lists by number (`speakers.0.audio`). Paths that
# begin with "_" are notes between a family's keys and its `finish`; they never leave the reader.
Values = dict[str, Any]
FROM = "_from."  # before a path: the note or path that its value was made of, for messages


class ClashError(ValueError):
    """Keys of one payload that do not go together."""

    def __init__(self, why: str, *names: str) -> None:
        super().__init__(why)
        self.names = names


def same(value: Any) -> Any:
    """Return value: the canonical field takes it as it is, and judges it."""
    return value


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an older payload: the canonical path it leads to, and how its value is read.

    `convert` raises UnfitError where a value does not fit. With `spread` it returns paths and
    values. Without `to` the key means nothing here, and `note` says why.
    """

    to: str
    convert: Callable[[Any], Any] = same
    note: str = ""
    spread: bool = False


def ignored(why: str) -> Key:
    """Return a key that is known, and that nothing here uses."""
    return Key("", note=why)


def nothing_more(values: Values, payload: Payload) -> list[Notice]:
    """Finish a family whose keys say everything."""
    del values, payload
    return []


@dataclass(frozen=True, slots=True)
class Family:
    """One older system's way of asking, as tables."""

    name: str
    about: str  # whose payload this is, for the page
    detect: Callable[[Payload], bool]
    known_by: str  # the same in words
    keys: Mapping[str, Key]
    traits: tuple[str, ...] = ()  # keys that say the family where no detector knows the payload
    action: str = "talk"
    engine: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    # What an operator may set in place of `defaults`: his word, where it goes among the family's
    # values, and the path that comes of it.
    operators: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    isolates: bool = False  # it always took the vocals out of the sound
    needs: tuple[str, ...] = ()  # canonical paths, without which its old handler refused
    finish: Callable[[Values, Payload], list[Notice]] = nothing_more
    items: str = ""  # the key that holds a list of payloads of `each`
    each: "Family | None" = None
    echo: tuple[str, ...] = ()  # keys whose small values its answer repeats
    answers: str = ""  # the answer's shape in words


OUTPUT = ("url", "expires_s", "thumbnail", "name", "prefix", "store", "score")


def _output(value: Any) -> Values:
    """Return what an older payload may say of `output`; whether a file is inline its family says.

    Their values are judged with the whole request.
    """
    if not isinstance(value, dict) or not value.keys() <= set(OUTPUT):
        raise UnfitError(f"has to be an object with no more than {', '.join(OUTPUT)}")
    return {f"output.{name}": same(given) for name, given in value.items()}


# What every family takes beside its own keys: fields of this version with no older namesake.
COMMON = {
    "fit": Key("fit"),
    "output": Key("output", _output, spread=True),
    "idempotency_key": Key("idempotency_key"),
    "priority": Key("priority"),
    "deadline_s": Key("deadline_s"),
    "late": Key("late"),
}
