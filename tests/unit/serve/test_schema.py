"""The schema says yes to what the models take and no to what they refuse, and never changes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from talkhead.errors import Code, TalkheadError
from talkhead.request import ACTIONS
from talkhead.result import (
    Ability,
    Component,
    FaceFound,
    Made,
    Notice,
    PlanReport,
    Progress,
    Result,
    Resumed,
)
from talkhead.serve import document, progress, schema
from talkhead.serve.answering import lean
from talkhead.serve.cli import app
from talkhead.validation import parse

TALK = {"portrait": "a", "speakers": [{"text": "Hi"}]}
GOOD: list[dict[str, Any]] = [
    *schema.EXAMPLES.values(),
    *(TALK | {"size": size} for size in ("512x512", " 512X512 ", "720", 720, "480P", "1080p")),
    *(TALK | {"size": {side: 512}} for side in ("long", "short")),
    TALK | {"size": {"width": 512, "height": 512}},
    TALK | {"fps": "30000/1001"},
    TALK | {"fps": 25},
    TALK | {"duration": 5, "max_frames": None},
    TALK | {"engine": "draft", "options": {"blinks": False}},
    TALK | {"portrait": None, "video": "b"},
    TALK | {"speakers": [{"audio": "a", "transcript": "b", "isolate_vocals": "auto"}]},
    TALK | {"speakers": [{"audio": "a", "text": None, "box": [0, 0, 1, 1]}]},
    TALK | {"sampling": {"seed": -1, "steps": 4}, "memory": {"offload": "block"}},
    TALK | {"output": {"prefix": "a/b", "name": "ü x", "url": "none"}},
]
BAD: list[Any] = [
    *([], "talk", 5, None, {}),
    {"action": "dance"},
    {"action": 5},
    {"action": "workflow"},
    {"action": "batch", "items": []},
    {"action": "batch", "items": [{"action": "health"}]},
    {"action": "batch", "items": [TALK | {"priority": 1}]},
    {"action": "batch", "items": [TALK | {"output": {"store": "b"}}]},
    {"action": "batch", "items": [TALK], "output": {"stream": True}},
    {"action": "speak"},
    {"action": "speak", "text": ""},
    {"action": "health", "portrait": "a"},
    {"action": "animate", "portrait": "a"},
    {"portrait": "a"},
    {"speakers": [{"text": "Hi"}]},
    TALK | {"video": "b"},
    TALK | {"portrait": 5},
    TALK | {"portrait": ""},
    TALK | {"speakers": []},
    TALK | {"speakers": [{"text": "Hi"}] * 9},
    TALK | {"speakers": [{}]},
    TALK | {"speakers": [{"text": "Hi", "audio": "a"}]},
    TALK | {"speakers": [{"text": "Hi", "box": [1, 2]}]},
    TALK | {"speakers": {"text": "Hi"}},
    TALK | {"unknown": 1},
    TALK | {"size": "huge"},
    TALK | {"size": 100},
    TALK | {"size": {"width": 512}},
    TALK | {"size": {"long": 512, "short": 512}},
    TALK | {"duration": 5, "max_frames": 5},
    TALK | {"duration": -1},
    TALK | {"fit": "stretch"},
    TALK | {"idempotency_key": "-a"},
    TALK | {"output": {"expires_s": 1}},
    TALK | {"output": {"name": "a/b"}},
    TALK | {"sampling": {"steps": 0}},
]
WHOLE = schema.json_schema()


def problems(value: object, model: str = "Request") -> list[str]:
    root = WHOLE | {"$ref": f"#/$defs/{model}"}
    return [error.message for error in Draft202012Validator(root).iter_errors(value)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(WHOLE)
    assert {"Request", "Result", "Progress", "Error"} < set(WHOLE["$defs"])


@pytest.mark.parametrize("payload", GOOD, ids=lambda payload: json.dumps(payload)[:60])
def test_what_is_valid_passes_both(payload: dict[str, Any]) -> None:
    assert problems(payload) == []
    parse(payload)


@pytest.mark.parametrize("payload", BAD, ids=lambda payload: json.dumps(payload)[:60])
def test_what_is_not_passes_neither(payload: object) -> None:
    assert problems(payload)
    with pytest.raises(TalkheadError):
        parse(payload)


def test_there_is_an_example_of_every_action() -> None:
    assert {parse(example).action for example in schema.EXAMPLES.values()} == set(ACTIONS)


def test_examples_hold() -> None:
    for name, model in WHOLE["$defs"].items():
        for example in model.get("examples", []):
            assert problems(example, name) == []


@pytest.mark.parametrize("code", Code)
def test_errors_match(code: Code) -> None:
    error = TalkheadError(code, "a", "b", fields=["c"], stage="render")
    assert problems(error.to_dict(), "Error") == []
    assert problems(error.to_dict() | {"code": "E_OTHER"}, "Error")


def test_progress_matches() -> None:
    for told in (Progress("fetch", 0, 1, 0.0), Progress("render", 5, 10, 50.0, 1, 2, 3.5)):
        assert problems(progress.payload(told), "Progress") == []
    assert problems({"stage": "dream", "pct": 1}, "Progress")


def test_results_match() -> None:
    component = Component(name="draft", ready=True, detail="")
    result = Result(
        action="talk",
        version="1",
        outputs=(Made(kind="video", key="k", mime="video/mp4", bytes=1, sha256="00"),),
        plan=PlanReport(
            engine="draft",
            engine_reason="asked for",
            width=512,
            height=512,
            work_width=512,
            work_height=512,
            fps="25",
            frames=25,
            seconds=1,
            speech_seconds=1,
            estimated=False,
            segments=1,
            estimated_seconds=1,
            estimated_memory_mb=100,
            faces=(FaceFound(box=(0, 0, 1, 1), speaker=None, mouth_px=30),),
        ),
        segments=Resumed(total=1, resumed=0),
        warnings=(Notice(code="W_X", message="m"),),
        ability=Ability(actions=("talk",), engines=(component,), voices=(), stores=("default",)),
    )
    assert problems(result.model_dump(mode="json"), "Result") == []
    # an answer leaves out what says nothing
    bare = Result(action="talk", version="1", outputs=result.outputs, plan=result.plan)
    assert problems(lean(bare.model_dump(mode="json")), "Result") == []


def test_openapi_is_valid_and_has_every_path() -> None:
    made = schema.openapi()
    OpenAPIV31SpecValidator(made).validate()
    found = {f"{verb} {path}" for path, verbs in made["paths"].items() for verb in verbs}
    assert found == {
        "post /run",
        "post /runsync",
        "get /status/{id}",
        "get /stream/{id}",
        "post /cancel/{id}",
        "post /retry/{id}",
        "get /health",
        "post /purge-queue",
    }
    for name, code in [("Error", "E_NO_FACE"), ("Status", "TIMED_OUT")]:
        assert code in json.dumps(made["components"]["schemas"][name])


def test_openapis_examples_hold() -> None:
    made = schema.openapi()
    root = {"$ref": "#/components/schemas/Submission", "components": made["components"]}
    content = made["paths"]["/run"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert list(Draft202012Validator(root).iter_errors(example["value"])) == []


@pytest.mark.parametrize("words", [(), ("--openapi",)])
def test_the_command_prints_the_same_each_time(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "talkhead", "schema", *words]
    outputs = [
        subprocess.run(
            command, check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    expected = schema.openapi() if words else schema.json_schema()
    assert json.loads(outputs[0]) == expected


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    first = CliRunner().invoke(app, ["schema", "--out", str(file)])
    assert (first.exit_code, first.output) == (0, "")
    assert json.loads(file.read_text()) == schema.json_schema()
    again = CliRunner().invoke(app, ["schema", "--out", str(file)])
    assert again.exit_code == 2
    assert "--force" in again.output
    assert CliRunner().invoke(app, ["schema", "-f", "--out", str(file)]).exit_code == 0


def test_the_command_rewrites_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: codes -->\nold\n<!-- end -->\nafter\n")
    assert CliRunner().invoke(app, ["schema", "--docs", str(page)]).exit_code == 0
    text = page.read_text()
    assert "E_NO_FACE" in text
    assert "\nold\n" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert document.rewrite(page) is False


@pytest.mark.parametrize("content", [None, "<!-- generated: nonsense -->\n<!-- end -->"])
def test_a_page_that_cannot_be_made(tmp_path: Path, content: str | None) -> None:
    page = tmp_path / "page.md"
    if content is not None:
        page.write_text(content)
    ended = CliRunner().invoke(app, ["schema", "--docs", str(page)])
    assert ended.exit_code == 2
    assert "E_INPUT_VALIDATION" in ended.output
