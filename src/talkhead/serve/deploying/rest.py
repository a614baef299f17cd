"""RunPod's REST API, as far as a deployment needs it: list, create and change two kinds of thing.

Written after its OpenAPI document (https://rest.runpod.io/v1/openapi.json) as its documentation
repeats it; docs/operations.md says what of it was not seen at work.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.redaction import Redactor

Json = dict[str, Any]
Kind = Literal["template", "endpoint"]

BASE = "https://rest.runpod.io/v1"
PATHS: Mapping[Kind, str] = {"template": "/templates", "endpoint": "/endpoints"}
# templates that belong to an endpoint are left out of the list unless they are asked for
LISTED: Mapping[Kind, Json] = {
    "template": {"includeEndpointBoundTemplates": "true"},
    "endpoint": {},
}
FIXED: Mapping[Kind, tuple[str, ...]] = {  # what PATCH does not take
    "template": ("isServerless", "category"),
    "endpoint": ("computeType",),
}
# what an account has and a file may no longer name; whether PATCH can take it away is not known
ATTACHED: Mapping[Kind, tuple[str, ...]] = {
    "template": ("containerRegistryAuthId",),
    "endpoint": ("networkVolumeId",),
}
FLASHBOOT = " -fb"  # what an older form of FlashBoot hangs on an endpoint's name
SHOWN = 500  # characters of what the API says


@dataclass(frozen=True, slots=True)
class Call:
    """One call that creates or changes something."""

    method: str
    path: str
    body: Json


def create(kind: Kind, body: Json) -> Call:
    """Return the call that creates a template or an endpoint."""
    return Call("POST", PATHS[kind], body)


def change(kind: Kind, there_id: str, body: Json) -> Call:
    """Return the call that changes fields of one."""
    return Call("PATCH", f"{PATHS[kind]}/{there_id}", body)


class Rest:
    """The API with one account's key, which no message shows. Use it in `with`."""

    def __init__(
        self, key: str, base: str = BASE, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._hide = Redactor([key])
        self._http = httpx.Client(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(60, connect=10),
            transport=transport,
        )

    def __enter__(self) -> Self:
        """Use the API in a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._http.close()

    def find(self, kind: Kind, name: str) -> Json | None:
        """Return what has that name, or None. Raises E_INPUT_VALIDATION where several have it."""
        path = PATHS[kind]
        listed = self._ask("GET", path, params=LISTED[kind])
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise _strange(f"GET {path}", "did not answer with a list")
        found = [item for item in listed if item.get("name") in (name, name + FLASHBOOT)]
        if len(found) > 1:
            ids = ", ".join(str(item.get("id")) for item in found)
            raise TalkheadError(
                Code.INPUT,
                f"your account has {len(found)} {kind}s called {name!r}: {ids}",
                "rename or delete all but one in the console, or choose another endpoint.name",
            )
        return self._whole(f"GET {path}", found[0]) if found else None

    def send(self, call: Call) -> Json:
        """Make a call; return what the API says is there now."""
        answer = self._ask(call.method, call.path, json=call.body)
        return self._whole(f"{call.method} {call.path}", answer)

    def _whole(self, call: str, answer: Any) -> Json:
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise _strange(call, "did not say the id")
        return answer

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        call = f"{method} {path}"
        try:
            answer = self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise TalkheadError(
                Code.DOWNLOAD,
                f"{call}: no answer from RunPod ({self._hide.text(str(error))})",
                "see whether the network is there; the next --apply looks first what came of it",
            ) from error
        if answer.is_error:
            raise self._refused(call, answer)
        try:
            return answer.json()
        except ValueError as error:
            raise _strange(call, "did not answer with JSON") from error

    def _refused(self, call: str, answer: httpx.Response) -> TalkheadError:
        said = self._hide.text(_told(answer))[:SHOWN]
        message = f"{call}: RunPod answers {answer.status_code}" + (f", {said}" if said else "")
        if answer.status_code in (401, 403):
            return TalkheadError(
                Code.INPUT, message, "see whether RUNPOD_API_KEY is of this account and may write"
            )
        if answer.status_code == 429 or answer.is_server_error:
            return TalkheadError(Code.DOWNLOAD, message, "try again later with the same command")
        return TalkheadError(
            Code.INPUT, message, "correct what it names in the file, and apply again"
        )


def _told(answer: httpx.Response) -> str:
    """Return the API's own words of what was wrong."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()
    if isinstance(body, dict):
        for name in ("message", "error", "title", "detail"):
            if isinstance(body.get(name), str):
                return str(body[name])
    return json.dumps(body)


def _strange(call: str, what: str) -> TalkheadError:
    return TalkheadError(
        Code.DOWNLOAD,
        f"{call}: RunPod {what}",
        "see the console for what is there; its API may have changed",
    )


def differences(wanted: Json, there: Json) -> tuple[Json, list[str]]:
    """Return the wanted fields that are otherwise there, and names of those that nobody tells.

    An answer may leave out what is empty, and never says some fields at all.
    """
    other: Json = {}
    untold = []
    for name, value in wanted.items():
        if name == "name":
            continue  # by which it was found, FlashBoot's addition aside
        told = there.get(name)
        if name == "flashboot" and told is None and str(there.get("name")).endswith(FLASHBOOT):
            told = True
        if told is None and value:
            untold.append(name)
        elif told is not None and told != value:
            other[name] = value
    return other, untold
