"""An older payload becomes a canonical one: detect its family, then follow that family's tables."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from talkhead.aliases.families import given, recognise
from talkhead.aliases.family import COMMON, FROM, ClashError, Family, Key, Payload, Values
from talkhead.aliases.keys import UnfitError
from talkhead.errors import Code, TalkheadError
from talkhead.request import MOST_ITEMS, OWN_OUTPUT, WHOLE
from talkhead.result import Notice

CANONICAL = "talkhead"
MOST_NOTICES = 30
MOST_KEYS = 1000  # of the payload itself
LONGEST_NAME = 60
LONGEST_ECHO = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """A payload as this version takes it, and where it came from.

    `echo` holds the few small values of the old payload that its family's answer repeats, and
    `origins` the old names of canonical paths.
    """

    family: str  # "talkhead": it was canonical
    payload: dict[str, Any]
    notices: tuple[Notice, ...] = ()
    echo: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operators:
    """What an operator has set for older payloads."""

    engines: Mapping[str, str]  # engine or voice, by the one that a family names
    defaults: Mapping[str, Any]  # of what a payload leaves out, by the words of `Family.operators`


def read(
    payload: object, engines: Mapping[str, str], defaults: Mapping[str, Any] | None = None
) -> Reading:
    """Return payload as a canonical one, for `validation.parse`; one that no family knows as it is.

    `engines` puts the operator's engine or voice in place of the one that a family names, and
    `defaults` what a payload leaves out in place of what its family meant (size, steps, teacache,
    apg). Raises E_INPUT_VALIDATION naming the old keys, and nothing else.
    """
    operators = Operators(engines, defaults or {})
    if not isinstance(payload, Mapping):
        raise TalkheadError(Code.INPUT, "a request is a JSON object", 'try {"action": "health"}')
    if len(payload) > MOST_KEYS:
        raise TalkheadError(
            Code.INPUT,
            f"{len(payload)} keys are over the limit of {MOST_KEYS}",
            "leave out what no job reads",
            fields=[_shown(next(islice(payload, MOST_KEYS, None)))],  # the first that is too many
        )
    family = recognise(payload)
    if family is None:
        return Reading(CANONICAL, cast(dict[str, Any], payload))
    notices, origins, said = _Notices(), dict[str, str](), given(payload)
    if family.each:
        canonical = _each_translated(family, said, operators, notices, origins)
        items = said[family.items]
        echo = {"ids": [_small(item.get("id")) and item.get("id") for item in items]}
        echo |= {"items": [_echo(family.each, {**said, **given(item)}) for item in items]}
        return Reading(family.name, canonical, notices.all(), echo, origins)
    canonical = _translated(family, said, operators, notices, origins=origins)
    return Reading(family.name, canonical, notices.all(), _echo(family, payload), origins)


def glance(payload: object) -> Reading:
    """Return the family alone, to answer a payload that `read` refuses. Never raises."""
    family = recognise(payload) if isinstance(payload, Mapping) else None
    if family is None:
        return Reading(CANONICAL, {})
    return Reading(family.name, {}, echo=_echo(family, cast(Payload, payload)))


class _Notices:
    """A short list, whatever the payload: what does not fit in is only counted."""

    def __init__(self) -> None:
        self._kept: list[Notice] = []
        self._more = 0

    @property
    def full(self) -> bool:
        return len(self._kept) >= MOST_NOTICES

    def add(self, code: str, message: str, at: str) -> None:
        if self.full:
            self._more += 1
        else:
            self._kept.append(Notice(code=code, message=message, field=at))

    def all(self) -> tuple[Notice, ...]:
        more = Notice(code="W_MORE", message=f"and {self._more} more")
        return (*self._kept, more) if self._more else tuple(self._kept)


def _each_translated(
    family: Family,
    payload: Payload,
    operators: Operators,
    notices: _Notices,
    origins: dict[str, str],
) -> dict[str, Any]:
    """Return a batch with one item for every one of the family's list, and what they share."""
    items = payload[family.items]
    if not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS or family.each is None:
        raise _refused(family.items, f"has to be a list of 1 to {MOST_ITEMS} objects")
    whole = {name: payload[name] for name in WHOLE if name in payload and name in COMMON}
    shared = {name: value for name, value in payload.items() if name not in {family.items, *whole}}
    found = []
    for index, item in enumerate(items):
        at = f"{family.items}.{index}"
        if not isinstance(item, Mapping):
            raise _refused(at, "has to be an object")
        said, own = {**shared, **given(item)}, dict[str, str]()
        found.append(_translated(family.each, said, operators, notices, f"{at}.", own))
        origins.update({f"items.{index}.{path}": old for path, old in own.items()})
    output = _shared_output(found, origins)
    return {"action": family.action, **whole, "output": output, "items": found}


def _shared_output(items: list[dict[str, Any]], origins: dict[str, str]) -> dict[str, Any]:
    """Take what is the whole batch's out of the items' output and return it, the same for all."""
    first = dict[str, Any]()
    for index, item in enumerate(items):
        said = item.pop("output", {})
        if own := {name: said.pop(name) for name in OWN_OUTPUT if name in said}:
            item["output"] = own
        first = said if index == 0 else first
        for name in sorted(said.keys() | first.keys()):
            old = origins.get(f"items.{index}.output.{name}", "")
            if said.get(name) != first.get(name):
                old = old or origins.get(f"items.0.output.{name}", "output")
                raise _refused(old, "has to be the same for all items of a batch")
            if old:
                origins.setdefault(f"output.{name}", old)
    return first


def _translated(
    family: Family,
    payload: Payload,
    operators: Operators,
    notices: _Notices,
    at: str = "",
    origins: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return the canonical form of one payload; `at` begins the names of its keys in messages.

    `origins` is filled with the old name of every canonical path that came from a key.
    """
    table = {**COMMON, **family.keys}
    values: Values = {}
    origins = {} if origins is None else origins
    aliases: dict[str, Key] = {}
    unknown: list[str] = []
    for name, value in payload.items():
        key = table.get(name) if isinstance(name, str) else None
        shown = at + _shown(name)
        if key is None:
            unknown.append(shown)
        else:
            _take(key, shown, value, values, origins)
            if key.to != name:
                aliases[shown] = key
    unsaid = {*family.defaults, *_set_by_operator(family, values, operators)}
    for note in _finished(family, values, payload, at):
        notices.add(note.code, note.message, f"{at}{note.field}")
    for path in [path for path in values if path.startswith(FROM)]:
        origin = origins.get(values.pop(path))
        if origin:
            origins.setdefault(path.removeprefix(FROM), origin)
    own = [path for path in values if path in origins or path not in unsaid]
    _replace(values, own, operators.engines, notices)
    _tell(aliases, unknown, family, notices)
    return _nested({path: value for path, value in values.items() if path[0] != "_"})


def _take(key: Key, shown: str, value: Any, values: Values, origins: dict[str, str]) -> None:
    """Put what one key says into values; two keys that say different things are refused."""
    try:
        converted = key.convert(value)
    except UnfitError as error:
        raise _refused(shown, str(error)) from error
    found = converted if key.spread else {key.to: converted} if key.to else {}
    for path, meant in found.items():
        if path in values and values[path] != meant:
            raise _contradiction(origins[path], shown, path)
        values[path] = meant
        own = path.startswith(f"{key.to}.")  # a field of an object that kept its name
        origins[path] = shown + path.removeprefix(key.to) if own else shown


def _set_by_operator(family: Family, values: Values, operators: Operators) -> list[str]:
    """Put in what the operator says of keys that the payload leaves out; return their paths."""
    paths = []
    for word, value in operators.defaults.items():
        note, path = family.operators.get(word, ("", ""))
        if note and note not in values:
            values[note] = value
            paths.append(path)
    return paths


def _tell(
    aliases: Mapping[str, Key], unknown: list[str], family: Family, notices: _Notices
) -> None:
    """Warn of every key that was read under another name, then of those that nobody knows."""
    for shown, key in aliases.items():
        if key.to:
            notices.add("W_ALIAS", f"read as {key.note or key.to}", shown)
        else:
            notices.add("W_IGNORED", f"not used: {key.note}", shown)
    for shown in unknown:
        name = shown.rpartition(".")[2]
        near = [] if notices.full else difflib.get_close_matches(name, family.keys, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        notices.add("W_UNKNOWN", f"not a key of {family.name} payloads{hint}", shown)


def _finished(family: Family, values: Values, payload: Payload, at: str) -> list[Notice]:
    """Fill values in: engine, what only several keys together say, and the old defaults."""
    values.setdefault("action", family.action)
    if family.engine:
        values["engine"] = family.engine
    try:
        notices = family.finish(values, payload)
    except ClashError as error:
        names = [at + name for name in error.names]
        raise TalkheadError(
            Code.INPUT, str(error), "correct the named keys", fields=names
        ) from error
    if values["action"] != family.action:  # it turned out to be another kind of job
        return notices
    _require(family, values, at)
    given = tuple(values)
    for path, value in family.defaults.items():
        if not any(_overlap(path, other) for other in given):
            values[path] = value
    if family.isolates:
        heard = [
            path for path in values if path.startswith("speakers.") and path.endswith(".audio")
        ]
        for path in heard:
            values.setdefault(path.removesuffix("audio") + "isolate_vocals", "auto")
    return notices


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")


def _require(family: Family, values: Values, at: str) -> None:
    for need in family.needs:
        wanted = need.split("|")
        if any(_overlap(path, way) for path in values for way in wanted):
            continue
        ways = [name for name, key in family.keys.items() if _leads(key.to, wanted)]
        lacks = "missing"
        if not ways:  # only a graph could have said it
            ways, lacks = ["workflow"], f"no {' or '.join(wanted)} in it"
        raise TalkheadError(
            Code.INPUT,
            f"{at}{ways[0]}: {lacks}",
            f"it reads as a {family.name} payload, which needs {' or '.join(ways)}",
            fields=[at + ways[0]],
        )


def _replace(
    values: Values, given: list[str], engines: Mapping[str, str], notices: _Notices
) -> None:
    """Put the operator's engine and voices in; an engine's own options go with the engine.

    `given` are the paths that the payload itself led to: what is lost of them is told.
    """
    engine = str(values.get("engine", ""))
    if engines.get(engine, engine) != engine:
        for path in [path for path in values if path.startswith("options.")]:
            del values[path]
        values["engine"] = engines[engine]
        told = [path for path in given if path.startswith("options.")]
        lost = f"; without {engine}'s own {', '.join(told)}" if told else ""
        message = f"engine {engines[engine]!r} in place of {engine!r}, as the operator set{lost}"
        notices.add("W_COMPAT_ENGINE", message, "engine")
    for path in [path for path in values if path.split(".")[-1] == "voice"]:
        _replace_voice(path, values, engines, notices)


def _replace_voice(
    path: str, values: Values, engines: Mapping[str, str], notices: _Notices
) -> None:
    voice = str(values[path]).partition(":")[0]
    if engines.get(voice, voice) == voice:
        return
    values[path] = engines[voice]
    stem = path.removesuffix("voice")
    lost = [name for name in ("sample", "sample_text") if values.pop(stem + name, None)]
    message = f"voice {engines[voice]!r} in place of {voice!r}, as the operator set"
    notices.add(
        "W_COMPAT_ENGINE", message + (f"; without {' and '.join(lost)}" if lost else ""), path
    )


def _leads(to: str, ways: list[str]) -> bool:
    return any(_overlap(path, way) for path in to.split(", ") for way in ways)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted paths as objects, and as lists where all names of a level are numbers."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, last = path.split(".")
        branch = tree
        for name in folders:
            branch = branch.setdefault(name, {})
        branch[last] = value
    if "speakers" in tree:
        tree["speakers"] = [tree["speakers"][name] for name in sorted(tree["speakers"], key=int)]
    return tree


def _echo(family: Family, payload: Payload) -> dict[str, Any]:
    """Return the small values that the family's answer repeats."""
    found = {name: payload[name] for name in family.echo if name in payload}
    return {name: value for name, value in found.items() if _small(value)}


def _small(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_ECHO and value.isprintable()
    return value is None or (isinstance(value, int | float) and abs(value) < 2**63)


def _shown(name: object) -> str:
    """Return a key's name as a message may hold it: short and printable."""
    text = name if isinstance(name, str) else type(name).__name__
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_NAME])
    return clean if len(text) <= LONGEST_NAME else f"{clean}..."


def _refused(at: str, why: str) -> TalkheadError:
    return TalkheadError(Code.INPUT, f"{at}: {why}", "correct the named key", fields=[at])


def _contradiction(first: str, second: str, path: str) -> TalkheadError:
    return TalkheadError(
        Code.INPUT,
        f"{first} and {second} contradict each other: both say {path}",
        "send one of them",
        fields=[first, second],
    )
