"""The OpenAPI document of the server: RunPod's paths, and those beside them."""

import json
from functools import cache
from typing import Any

from talkhead.serve import schema

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
REFUSALS = {
    "400": "what was sent is not right",
    "401": "no token, or a wrong one",
    "403": "another site's page, or another host's name",
    "404": "not there",
    "409": "not as things stand",
    "413": "too large",
    "415": "not a kind of file that is read",
    "429": "too many requests, or too many jobs wait; Retry-After says when to come again",
    "503": "uploads take up all the room that they may",
}


KINDS = (
    "video/mp4",
    "audio/wav",
    "audio/flac",
    "image/jpeg",
    "image/png",
)  # and what else was sent


@cache
def text() -> bytes:
    """Return the OpenAPI document as the server sends it."""
    return json.dumps(openapi(), separators=(",", ":")).encode()


def openapi() -> Schema:
    """Return the OpenAPI 3.1 document."""
    made = schema.openapi()
    made["servers"] = [{"url": "/"}]
    made["info"]["description"] += " Every path is also there below /v2/{endpoint}."
    made["components"]["schemas"] |= _schemas()
    run = made["paths"]["/run"]["post"]
    made["paths"]["/run/{id}"] = {
        "put": {
            **run,
            "operationId": "put",
            "summary": "Queue a job under an id of your own; repeated, it is the same job",
            "parameters": [_id()],
        }
    }
    made["paths"]["/runsync"]["post"]["parameters"] = [
        _query("wait", {"type": "integer", "minimum": 0, "maximum": 90_000}, "milliseconds")
    ]
    stream = made["paths"]["/stream/{id}"]["get"]["responses"]["200"]
    stream["content"]["text/event-stream"] = {"schema": TEXT}
    made["paths"] |= _paths()
    for path in made["paths"].values():
        for operation in path.values():
            _refusing(operation)
    return made


def _refusing(operation: Schema) -> None:
    """Add how an operation may be refused; any of them may, in the same shape."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for status, why in REFUSALS.items():
        operation["responses"][status] = {"description": why, "content": content}


def _paths() -> Schema:
    file = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    key = {**_id("key"), "description": "of a result, as its URL has it"}
    listing = [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 500}, "50 unless said"),
        _query("before", {"type": "integer", "minimum": 0}, "`next` of the answer before"),
        _query("status", {"enum": list(schema.STATES)}, "only these"),
    ]
    return {
        "/uploads/{name}": {
            "put": {
                **_operation("upload", "Send a file for requests to name", "Upload", "201"),
                "parameters": [_id("name")],
                "requestBody": {"required": True, "content": file},
            },
            "get": _file("sent", "Take back a file that was sent", [_id("name")], file),
        },
        "/library/{key}": {
            "get": _file("shelf", "Take a picture or sound of the library", [_id("key")], file)
        },
        "/files/{key}": {
            "get": _file("file", "Take a result, where results are in a folder", [key], file)
        },
        "/partial/{id}": {"get": _file("partial", "Take the video as far as it is", [_id()], file)},
        "/jobs": {
            "get": {**_operation("jobs", "List jobs, newest first", "Jobs"), "parameters": listing}
        },
        "/jobs/{id}": {
            "get": {**_operation("job", "Show a job", "JobDetail"), "parameters": [_id()]},
            "delete": {
                **_operation("forget", "Delete an ended job and its files", "Forgotten"),
                "parameters": [_id()],
            },
        },
        "/capabilities": {
            "get": _operation("capabilities", "Engines, voices and sizes here", "Capabilities")
        },
        "/metrics": {"get": _plain("metrics", "Figures for Prometheus", "text/plain")},
        "/openapi.json": {"get": _plain("openapi", "This document", "application/json")},
        "/ping": {"get": _plain("ping", "Whether the server is there", "application/json")},
    }


def _operation(name: str, summary: str, answer: str, status: str = "200") -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {status: {"description": "OK", "content": content}},
    }


def _plain(name: str, summary: str, mime: str) -> Schema:
    shape = {"type": "string"} if mime.startswith("text/") else {"type": "object"}
    content = {mime: {"schema": shape}}
    responses = {"200": {"description": "OK", "content": content}}
    return {"operationId": name, "summary": summary, "responses": responses}


def _file(name: str, summary: str, parameters: list[Schema], content: Schema) -> Schema:
    kinds = (*KINDS, "application/json")
    held = dict.fromkeys((*kinds, *content), content["application/octet-stream"])
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "content": held},
            "206": {"description": "the range that was asked for", "content": held},
            "303": {"description": "a part: the job has ended, see its video"},
            "416": {"description": "no such range"},
        },
    }


def _id(name: str = "id") -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _query(name: str, shape: Schema, what: str) -> Schema:
    return {"name": name, "in": "query", "schema": shape, "description": what}


def _schemas() -> Schema:
    job = {
        "id": TEXT,
        "status": {"enum": list(schema.STATES)},
        "created": {**NUMBER, "description": "unix seconds"},
        "action": TEXT,
        "engine": TEXT,
        "title": TEXT,
        "key": TEXT,
        "seconds": {**NUMBER, "description": "of work"},
        "error_code": TEXT,
        "video": TEXT,
        "audio": TEXT,
        "thumbnail": TEXT,
    }
    needed = ["id", "status", "created", "action"]
    return {
        "Refusal": _object({"error": {"$ref": "#/components/schemas/Error"}}, ["error"]),
        "Upload": _object(
            {"reference": TEXT, "bytes": {"type": "integer"}, "mime": TEXT},
            ["reference", "bytes", "mime"],
        ),
        "Jobs": _object(
            {
                "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/JobLine"}},
                "next": {"type": ["integer", "null"], "description": "`before` of the next page"},
            },
            ["jobs", "next"],
        ),
        "JobLine": _object(job, needed),
        "JobDetail": _object(
            {
                **job,
                "input": {"type": ["object", "null"], "description": "as sent, files in it cut"},
                "output": {"type": "object"},
                "error": TEXT,
                "position": {"type": "integer"},
            },
            [*needed, "input"],
        ),
        "Forgotten": _object({"id": TEXT, "deleted": {"type": "integer"}}, ["id", "deleted"]),
        "Capabilities": _object(
            {
                "version": TEXT,
                "actions": {"type": "array", "items": TEXT},
                "engine": {"type": ["string", "null"], "description": "that `auto` stands for"},
                "engines": {"type": "array", "items": {"type": "object"}},
                "voices": {"type": "array", "items": {"type": "object"}},
                "stores": {"type": "array", "items": TEXT},
                "devices": {"type": "array", "items": TEXT},
                "library": {
                    "type": "object",
                    "description": "names that library:NAME takes: `pictures`, `sounds`; "
                    "`bundle`: those of them that come with talkhead",
                },
                "price_per_hour": {"type": ["number", "null"]},
            },
            ["version", "actions", "engine", "engines", "voices"],
        ),
    }


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required}
