"""JSON Schemas of the two files that RunPod's Hub reads, as its publishing guide describes them."""

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string", "minLength": 1}
CUDA: Json = {"type": "array", "items": {"type": "string", "pattern": r"^\d\d\.\d$"}}
VARIABLE: Json = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}


def _closed(wanted: tuple[str, ...], /, **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(wanted),
        "additionalProperties": False,
    }


_INPUT = _closed(
    ("name", "type", "description"),
    name=TEXT,
    type={"enum": ["string", "number", "boolean", "huggingface"]},
    description=TEXT,
    default={"type": ["string", "number", "boolean"]},
    required={"type": "boolean"},
    advanced={"type": "boolean"},
    options={
        "type": "array",
        "minItems": 1,
        "items": _closed(("label", "value"), label=TEXT, value={"type": "string"}),
    },
    min={"type": "number"},
    max={"type": "number"},
    trueValue={"type": "string"},
    falseValue={"type": "string"},
)
_SET = _closed(("key", "value"), key=VARIABLE, value={"type": "string"})
_ASKED = _closed(("key", "input"), key=VARIABLE, input=_INPUT)
_CONFIG = _closed(
    ("runsOn", "containerDiskInGb"),
    runsOn={"enum": ["GPU", "CPU"]},
    endpointType={"const": "LB"},
    containerDiskInGb={"type": "integer", "minimum": 1},
    gpuCount={"type": "integer", "minimum": 1},
    gpuIds=TEXT,
    cpuFlavor=TEXT,
    allowedCudaVersions=CUDA,
    env={"type": "array", "items": {"oneOf": [_SET, _ASKED]}},
    presets={
        "type": "array",
        "items": _closed(("name", "defaults"), name=TEXT, defaults={"type": "object"}),
    },
)
HUB = _closed(
    ("title", "description", "type", "category", "config"),
    title=TEXT,
    description=TEXT,
    type={"const": "serverless"},
    category={"enum": ["audio", "embedding", "language", "video", "image"]},
    iconUrl=TEXT,
    config={
        **_CONFIG,
        "if": {"properties": {"runsOn": {"const": "GPU"}}},
        "then": {"required": ["gpuIds", "gpuCount"]},
        "else": {"required": ["cpuFlavor"]},
    },
)
TESTS = _closed(
    ("tests", "config"),
    tests={
        "type": "array",
        "minItems": 1,
        "items": _closed(
            ("name", "input", "timeout"),
            name=TEXT,
            input={"type": "object", "not": {"required": ["input"]}},  # the bare input
            timeout={"type": "integer", "minimum": 1000},
        ),
    },
    config=_closed(
        ("gpuTypeId", "gpuCount"),
        gpuTypeId=TEXT,
        gpuCount={"type": "integer", "minimum": 1},
        cpuFlavor=TEXT,
        env={"type": "array", "items": _SET},
        allowedCudaVersions=CUDA,
    ),
)
