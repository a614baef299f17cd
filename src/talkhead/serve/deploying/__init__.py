"""`talkhead deploy`: make RunPod's template and endpoint what deploy/endpoint.toml says."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.serve.deploying import file, rest
from talkhead.serve.deploying.file import Json, Wanted
from talkhead.serve.deploying.rest import Call, Kind, Rest

__all__ = ["Done", "Wanted", "apply", "calls", "file"]

SERVED = "https://api.runpod.ai/v2"  # where endpoints take jobs
ITS_ID = "<id of the template>"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a template or an endpoint."""

    kind: Kind
    name: str
    id: str
    did: str  # created, changed, same
    fields: tuple[str, ...] = ()  # that were changed
    untold: tuple[str, ...] = ()  # that the API does not tell, so that they were not compared
    attached: tuple[str, ...] = ()  # that are there and that the file does not name


def calls(wanted: Wanted) -> list[Call]:
    """Return the calls that make everything anew, for an account that has nothing of it."""
    endpoint = {"templateId": ITS_ID, **wanted.endpoint}
    return [rest.create("template", wanted.template), rest.create("endpoint", endpoint)]


def apply(
    wanted: Wanted,
    key: str,
    *,
    again: bool = False,
    told: Callable[[Done], None] = lambda _: None,
    transport: httpx.BaseTransport | None = None,
) -> list[Done]:
    """Create or change what differs, template first; `told` hears of each as soon as it is there.

    What is there already by its name is used, so that a second run goes on after a failure. With
    `again` every field is sent, also those that are the same or that the API does not tell.
    Raises what RunPod says; what was made before that stays, and the error names it.
    """
    done: list[Done] = []
    with Rest(key, transport=transport) as api:
        try:
            done.append(_settle(api, "template", wanted.template, again))
            told(done[-1])
            endpoint = {"templateId": done[-1].id, **wanted.endpoint}
            done.append(_settle(api, "endpoint", endpoint, again))
            told(done[-1])
        except TalkheadError as error:
            if made := [item for item in done if item.did != "same"]:
                stays = ", ".join(
                    f"{item.kind} {item.name} ({item.id}) was {item.did}" for item in made
                )
                raise TalkheadError(
                    error.code,
                    f"{error.message}; {stays} and stays",
                    f"{error.hint}; the next --apply goes on from there",
                    retryable=error.retryable,
                ) from error
            raise
    return done


def _settle(api: Rest, kind: Kind, wanted: Json, again: bool) -> Done:
    """Make one of the two what is wanted."""
    there = api.find(kind, wanted["name"])
    if there is None:
        made = api.send(rest.create(kind, wanted))
        return Done(kind, wanted["name"], made["id"], "created")
    other, untold = rest.differences(wanted, there)
    if fixed := [name for name in rest.FIXED[kind] if name in other]:
        raise TalkheadError(
            Code.INPUT,
            f"{kind} {wanted['name']} ({there['id']}) is there with {fixed[0]} "
            f"{there[fixed[0]]!r}, and RunPod cannot change that to {wanted[fixed[0]]!r}",
            "choose another endpoint.name, or delete it in the console",
        )
    attached = [f"{n} {there[n]}" for n in rest.ATTACHED[kind] if there.get(n) and n not in wanted]
    same = Done(kind, wanted["name"], there["id"], "same", (), tuple(untold), tuple(attached))
    if not other and not again:
        return same
    # whatever cannot be compared goes along
    sent = wanted if again else {**other, **{name: wanted[name] for name in untold}}
    body = {name: value for name, value in sent.items() if name not in rest.FIXED[kind]}
    api.send(rest.change(kind, there["id"], body))
    return replace(same, did="changed", fields=tuple(body))
