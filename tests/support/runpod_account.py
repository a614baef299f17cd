"""A RunPod account behind its REST API, in memory: templates and endpoints, as documented."""

import json
from typing import Any

import httpx

from support.runpod_schema import CREATE, UPDATE

Json = dict[str, Any]
KEY = "rpa_0123456789abcdef"


class Account:
    """Answers as https://rest.runpod.io/v1 is documented to, and notes every call.

    `fails` holds answers for the next calls of a method and path, such as {"POST /endpoints": 500}.
    """

    def __init__(self, *, shows_flashboot: bool = False) -> None:
        self.templates: dict[str, Json] = {}
        self.endpoints: dict[str, Json] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.fails: dict[str, httpx.Response | Exception] = {}
        self.shows_flashboot = shows_flashboot

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def changes(self) -> list[tuple[str, str]]:
        """Return the calls that were more than a look."""
        return [(method, path) for method, path, _ in self.calls if method != "GET"]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1")
        body = json.loads(request.content) if request.content else None
        self.calls.append((request.method, path, body))
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return httpx.Response(401, json={"message": f"no such key: {request.headers}"})
        failure = self.fails.pop(f"{request.method} {path}", None)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return failure
        kind, _, there_id = path.strip("/").partition("/")
        held = {"templates": self.templates, "endpoints": self.endpoints}[kind]
        if request.method == "GET":
            return httpx.Response(200, json=self._listed(kind, request.url.params))
        known = (CREATE if request.method == "POST" else UPDATE)[kind]
        if unknown := sorted(set(body) - known.keys()):
            return httpx.Response(400, json={"message": f"unknown fields {unknown}"})
        if wrong := [name for name, value in body.items() if not isinstance(value, known[name])]:
            return httpx.Response(400, json={"message": f"wrong types {wrong}"})
        if request.method == "POST":
            there_id = f"{kind[0]}{len(held) + 1}"
            held[there_id] = {"id": there_id}
        held[there_id] |= body
        return httpx.Response(200, json=self._shown(kind, held[there_id]))

    def _listed(self, kind: str, asked: httpx.QueryParams) -> list[Json]:
        if kind == "endpoints":
            return [self._shown(kind, item) for item in self.endpoints.values()]
        bound = {item["templateId"] for item in self.endpoints.values()}
        all_of_them = asked.get("includeEndpointBoundTemplates") == "true"
        return [item for key, item in self.templates.items() if all_of_them or key not in bound]

    def _shown(self, kind: str, item: Json) -> Json:
        """Return what the API says of an item: not all that an endpoint was made with."""
        hidden = {"flashboot", "cpuFlavorIds", "vcpuCount"}
        if kind == "templates":
            hidden = set()
        elif self.shows_flashboot:
            hidden.remove("flashboot")
        return {name: value for name, value in item.items() if name not in hidden}
