"""The contract for machines: JSON Schema of what goes in and out, and OpenAPI of the HTTP paths."""

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from talkhead import __version__
from talkhead.errors import RETRYABLE, Code
from talkhead.request import ACTIONS, MAX_SIDE, MIN_SIDE, OWN_OUTPUT, PRESETS, WHOLE, Output
from talkhead.result import Result, Stage

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
STATES = ("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")

EXAMPLES: dict[str, Schema] = {
    "talk": {"portrait": "library:astronaut.png", "speakers": [{"audio": "library:librivox.flac"}]},
    "two_people": {
        "action": "talk",
        "portrait": "https://example.com/two.png",
        "speakers": [
            {"text": "Good morning.", "voice": "espeak"},
            {"text": "Bonjour.", "voice": "espeak:fr"},
        ],
        "turns": "in_turn",
        "size": "720p",
        "output": {"prefix": "avatars/u1", "expires_s": 3600},
        "idempotency_key": "order-1001",
    },
    "speak": {"action": "speak", "text": "Good morning", "voice": "espeak"},
    "portrait": {"action": "portrait", "prompt": "a friendly teacher", "size": 720},
    "animate": {
        "action": "animate",
        "portrait": "store:avatars/odin.png",
        "video": "store:driving/wave.mp4",
    },
    "batch": {
        "action": "batch",
        "items": [
            {
                "portrait": "library:astronaut.png",
                "speakers": [{"audio": "library:librivox.flac"}],
                "output": {"name": "astronaut"},
            },
            {"action": "speak", "text": "Good morning", "voice": "espeak"},
        ],
        "output": {"prefix": "avatars/u1", "thumbnail": False},
        "idempotency_key": "order-1002",
    },
    "health": {"action": "health", "self_test": True},
    "capabilities": {"action": "capabilities"},
    "uploads": {"action": "uploads", "files": [{"name": "clip.mp4", "bytes": 48_000_000}]},
}
_ERROR_EXAMPLE: Schema = {
    "code": "E_NO_FACE",
    "message": "no face in the portrait",
    "hint": "give a picture with a face that is at least 64 pixels wide",
    "retryable": False,
    "stage": "prepare",
    "fields": ["portrait"],
    "job_id": None,
}
_PROGRESS_EXAMPLE: Schema = {
    "stage": "render",
    "pct": 42.5,
    "window": 3,
    "windows": 8,
    "step": 210,
    "steps": 500,
    "eta_s": 12.5,
    "item": 2,
    "items": 5,
}


def json_schema() -> Schema:
    """Return one JSON Schema (draft 2020-12): a request itself, and $defs of all the rest."""
    return {
        "$schema": DRAFT,
        "$id": "urn:talkhead:request",
        "title": "talkhead request",
        "description": f"The contract of talkhead {__version__}; `$defs` also holds Result, "
        "Progress and Error.",
        "$ref": "#/$defs/Request",
        "$defs": definitions("#/$defs/"),
    }


def definitions(prefix: str) -> Schema:
    """Return every model of the contract by its name, references beginning with prefix."""
    modes: list[tuple[Any, JsonSchemaMode]] = [(each, "validation") for each in ACTIONS.values()]
    _, made = models_json_schema([*modes, (Result, "validation")], ref_template=prefix + "{model}")
    found: Schema = made["$defs"]
    found["Size"] = _size(found["Size"])
    # what the models check across fields
    found["Talk"] |= _one_of("portrait", "video", "source")
    found["Speaker"] |= _one_of("audio", "text")
    for film in ("Talk", "Animate"):
        found[film] |= _not_both("duration", "max_frames")
    found["Batch"]["properties"]["items"]["items"]["properties"] = _left_to_the_batch()
    found["Batch"]["properties"]["output"] = {
        "allOf": [found["Batch"]["properties"]["output"]],
        "properties": {"stream": {"const": False}},
    }
    found["Request"] = {
        "oneOf": [{"$ref": prefix + model.__name__} for model in ACTIONS.values()],
        "description": "One piece of work. `action` tells which; without it the action is talk.",
        "examples": list(EXAMPLES.values()),
    }
    found["Progress"] = _progress()
    found["Error"] = _error()
    return dict(sorted(found.items()))


def openapi() -> Schema:
    """Return the OpenAPI 3.1 document of the HTTP interface, the same as RunPod's."""
    shared = definitions("#/components/schemas/")
    refs = {name: f"#/components/schemas/{model.__name__}" for name, model in ACTIONS.items()}
    shared["Request"]["discriminator"] = {"propertyName": "action", "mapping": refs}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "talkhead",
            "version": __version__,
            "description": "Portraits that speak, behind the paths of a RunPod endpoint. "
            "A job is queued by POST /run and looked at by GET /status/{id}. The payloads of "
            "older systems are taken as well; docs/older_payloads.md lists them.",
        },
        "servers": [{"url": "https://api.runpod.ai/v2/{endpoint}", "variables": _ENDPOINT}],
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": shared | _platform(),
        },
    }


def text(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, the same each time."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


_ENDPOINT = {"endpoint": {"default": "ENDPOINT_ID", "description": "the id of your endpoint"}}


def _size(whole: Schema) -> Schema:
    sides = {"type": "integer", "minimum": MIN_SIDE, "maximum": MAX_SIDE}
    presets = "|".join(PRESETS)
    return {
        "title": "Size",
        "description": whole.pop("description"),
        "anyOf": [
            {**whole, "oneOf": [_given("width", "height"), _given("long"), _given("short")]},
            {**sides, "description": "the long side"},
            {
                "type": "string",
                "pattern": rf"^\s*([0-9]+[xX*][0-9]+|[0-9]+|{presets.replace('p', '[pP]')})\s*$",
                "description": f"512x512, 720 (long side), or short side by name: {presets}",
            },
        ],
    }


def _given(*names: str) -> Schema:
    """Return the schema of an object in which these fields are there and not null."""
    return {"required": [*names], "properties": {name: {"not": {"type": "null"}} for name in names}}


def _left_to_the_batch() -> Schema:
    """Return what the items of a batch may not say, since it is said once for all of them."""
    output = dict.fromkeys(sorted({*Output.model_fields} - {*OWN_OUTPUT}), False)
    return {**dict.fromkeys(WHOLE, False), "output": {"properties": output}}


def _one_of(*names: str) -> Schema:
    return {"oneOf": [_given(name) for name in names]}


def _not_both(*names: str) -> Schema:
    return {"not": _given(*names)}


def _progress() -> Schema:
    whole = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "description": "How far a job is: `output` while the status is IN_PROGRESS.",
        "properties": {
            "stage": {"enum": list(get_args(Stage))},
            "pct": {"type": "number", "minimum": 0, "maximum": 100, "description": "never falls"},
            "window": {**whole, "description": "parts that are safe"},
            "windows": {**whole, "description": "parts in all"},
            "step": {**whole, "description": "of this stage"},
            "steps": {**whole, "description": "of this stage, in all"},
            "eta_s": {"type": "number", "minimum": 0, "description": "seconds left, a guess"},
            "item": {**whole, "description": "of a batch, the one under way; the first is 1"},
            "items": {**whole, "description": "of a batch, in all"},
            "stream": {
                "type": "object",
                "description": "with output.stream: an HLS playlist, and how much of it is there",
                "properties": {"url": {"type": "string"}, "seconds": {"type": "number"}},
            },
        },
        "required": ["stage", "pct"],
        "examples": [_PROGRESS_EXAMPLE],
    }


def _error() -> Schema:
    texts = {"type": "string"}
    again = ", ".join(code for code in Code if code in RETRYABLE)
    return {
        "type": "object",
        "description": "Why a job failed.",
        "properties": {
            "code": {"enum": [code.value for code in Code]},
            "message": {**texts, "description": "what was wrong"},
            "hint": {**texts, "description": "what to do about it"},
            "retryable": {
                "type": "boolean",
                "description": f"whether the same request may work later: {again}",
            },
            "stage": {"enum": [*get_args(Stage), None]},
            "fields": {
                "type": "array",
                "items": texts,
                "description": "dotted paths into the request, as speakers.0.audio",
            },
            "job_id": {"type": ["string", "null"], "description": "of a job that can go on"},
        },
        "required": ["code", "message", "hint", "retryable", "stage", "fields", "job_id"],
        "examples": [_ERROR_EXAMPLE],
    }


def _platform() -> Schema:
    """Return what the platform puts around requests and results."""
    texts, number = {"type": "string"}, {"type": "number"}
    state = {"enum": list(STATES)}
    return {
        "Submission": _submission(),
        "Queued": {
            "type": "object",
            "properties": {"id": texts, "status": state},
            "required": ["id", "status"],
        },
        "Status": {
            "type": "object",
            "properties": {
                "id": texts,
                "status": state,
                "delayTime": {**number, "description": "milliseconds in the queue"},
                "executionTime": {**number, "description": "milliseconds of work"},
                "workerId": texts,
                "output": {"anyOf": [_ref("Answer"), _ref("Progress")]},
                "error": {
                    **texts,
                    "contentMediaType": "application/json",
                    "contentSchema": _ref("Error"),
                },
            },
            "required": ["id", "status"],
        },
        "Answer": {
            "type": "object",
            "description": "The end of a job; older payloads find their own keys beside `result`.",
            "properties": {"result": _ref("Result")},
            "required": ["result"],
        },
        "Stream": {
            "type": "object",
            "properties": {"status": state, "stream": {"type": "array"}},
            "required": ["status", "stream"],
        },
        "EndpointHealth": {
            "type": "object",
            "properties": {"jobs": {"type": "object"}, "workers": {"type": "object"}},
        },
    }


def _submission() -> Schema:
    texts, number = {"type": "string"}, {"type": "number"}
    return {
        "type": "object",
        "properties": {
            "input": {
                "anyOf": [
                    _ref("Request"),
                    {"type": "object", "description": "a payload of an older system"},
                ]
            },
            "webhook": {**texts, "description": "where the platform posts the end"},
            "policy": {
                "type": "object",
                "properties": {
                    "executionTimeout": {**number, "description": "milliseconds"},
                    "ttl": {**number, "description": "milliseconds from submission"},
                    "lowPriority": {"type": "boolean"},
                },
            },
            "s3Config": {
                "type": "object",
                "description": "the caller's own bucket, where the operator allows it",
            },
        },
        "required": ["input"],
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _paths() -> Schema:
    return {
        "/run": {"post": _operation("run", "Queue a job", "Queued", body=True)},
        "/runsync": {"post": _operation("runsync", "Queue a job and wait", "Status", body=True)},
        "/status/{id}": {"get": _operation("status", "Look at a job", "Status", job=True)},
        "/stream/{id}": {"get": _operation("stream", "Take what is new", "Stream", job=True)},
        "/cancel/{id}": {"post": _operation("cancel", "Stop a job", "Status", job=True)},
        "/retry/{id}": {
            "post": _operation("retry", "Queue a failed job again", "Queued", job=True)
        },
        "/purge-queue": {"post": _operation("purge", "Drop all queued jobs", None)},
        "/health": {"get": _operation("health", "Jobs and workers in numbers", "EndpointHealth")},
    }


def _operation(
    name: str, summary: str, answer: str | None, *, body: bool = False, job: bool = False
) -> Schema:
    shape = {"type": "object"} if answer is None else _ref(answer)
    made: Schema = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": shape}}},
            "401": {"description": "no key, or a wrong one"},
        },
    }
    if job:
        made["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
        made["responses"]["404"] = {"description": "no such job"}
    if body:
        examples = {key: {"value": {"input": payload}} for key, payload in EXAMPLES.items()}
        content = {"schema": _ref("Submission"), "examples": examples}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
        made["responses"]["400"] = {"description": "not a JSON object with an object `input`"}
        made["responses"]["413"] = {"description": "too large: 10 MB for /run, 20 MB for /runsync"}
    return made
