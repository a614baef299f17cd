"""One line of JSON per event, whole whoever writes, and no secret in any of them."""

import ast
import io
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import types
import typing
import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from talkhead import job, request
from talkhead.errors import Code, TalkheadError
from talkhead.report import naming
from talkhead.runtime import Runtime
from talkhead.serve import logs
from talkhead.settings import S3, Local, Settings, Supabase
from talkhead.validation import parse

SRC = Path(logs.__file__).parent.parent
CANARY = "CANARY-7f3e9a"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    logs.close()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO | Path) -> list[dict[str, Any]]:
    text = out.read_text() if isinstance(out, Path) else out.getvalue()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_has_five_keys(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    logs.event("job.taken", job_id="one", size=3)
    (line,) = lines(out)
    assert list(line) == ["ts", "level", "job_id", "event", "details"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    age = datetime.now().astimezone() - datetime.fromisoformat(line["ts"])
    assert abs(age.total_seconds()) < 60
    assert line["details"] == {"size": 3}
    assert (line["level"], line["job_id"], line["event"]) == ("info", "one", "job.taken")


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("error", 1)])
def test_the_level_decides(out: io.StringIO, level: Any, count: int) -> None:
    logs.setup(Settings(log_level=level), out)
    for each in logs.LEVELS:
        logs.event("job.progress", level=each)
    assert len(lines(out)) == count


def test_nothing_before_setup_and_nothing_after_close(out: io.StringIO) -> None:
    logs.event("job.taken")
    logs.setup(Settings(), out)
    logs.close()
    logs.event("job.taken")
    assert lines(out) == []


def test_control_characters_stay_inside_the_line(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    logs.event("job.taken", job_id="a\nb", text="\x1b[31mred\r\n\u2028\x85\ud800")
    assert re.fullmatch(r"[ -~]+\n", out.getvalue())


def test_events_are_a_closed_list() -> None:
    """Every name in the code is on the list with its sentence, and names are given as such."""
    assert list(typing.get_args(logs.Event)) == list(logs.EVENTS)
    for file in SRC.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr == "event"
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "logs"
                and isinstance(call.args[0], ast.Constant)
            ):
                assert call.args[0].value in logs.EVENTS, file


def test_libraries_come_the_same_way(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    library = logging.getLogger("some.library")
    library.info("quiet")
    library.warning("key is %s", "https://h/a?token=CANARY")
    try:
        int("inner")
    except ValueError:
        library.exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    found = lines(out)
    assert [line["level"] for line in found] == ["warning", "error", "warning"]
    assert {line["event"] for line in found} == {"log.library"}
    assert found[0]["details"]["message"] == "key is https://h/…"
    assert found[0]["details"]["logger"] == "some.library"
    assert "ValueError: invalid" in found[1]["details"]["traceback"]
    assert "old way" in found[2]["details"]["message"]


def test_a_record_whose_arguments_do_not_fit(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    record = logging.LogRecord("library", logging.WARNING, "file", 1, "%d", ("text",), None)
    logging.getLogger().handlers[-1].emit(record)
    assert lines(out)[0]["details"]["message"] == "%d"


def test_a_failure_tells_the_whole_story(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    error: BaseException
    try:
        with naming("render"):
            raise ZeroDivisionError("deep inside")
    except TalkheadError as caught:
        error = caught
    logs.failure(error, "one")
    logs.failure(TalkheadError(Code.NO_FACE, "no face"), "two")
    ours, theirs = lines(out)
    assert (ours["level"], theirs["level"]) == ("error", "warning")
    assert "ZeroDivisionError: deep inside" in ours["details"]["traceback"]
    assert ours["details"]["error"]["stage"] == "render"
    assert theirs["details"]["error"]["code"] == "E_NO_FACE"


def test_a_stdout_that_is_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        logs.setup(Settings(), stream)
        logs.event("job.taken")
    logs.event("job.taken")  # closed altogether


def test_a_full_pipe_waits_for_its_reader() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as source:
            got.append(source.read())

    with os.fdopen(writing, "w") as stream:
        logs.setup(Settings(), stream)
        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(20):
            logs.event("job.taken", text="word " * 5000)
    reader.join()
    assert [len(json.loads(line)["details"]["text"]) for line in got[0].splitlines()] == [
        25000
    ] * 20


def test_secrets_of_settings_and_environment_go(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("R2_SECRET", "RUNPOD_API_KEY", "MINIO_PASSWORD", "HF_TOKEN")):
        monkeypatch.setenv(name, f"{CANARY}-{number}")
    store = S3(
        kind="s3",
        bucket="b",
        access_key=SecretStr(f"{CANARY}-access"),
        secret_key=SecretStr(f"{CANARY}-secret"),
        session_token=SecretStr(f"{CANARY}-session"),
    )
    other = Supabase(kind="supabase", url="https://x", key=SecretStr(f"{CANARY}-key"), bucket="b")
    settings = Settings(store=store, stores={"other": other})
    logs.setup(settings, out)
    endings = [*range(4), "access", "secret", "session", "key"]
    for ending in endings:
        logs.event("job.taken", job_id=f"{CANARY}-{ending}", text=f"so {CANARY}-{ending} it is")
        logs.failure(RuntimeError(f"{CANARY}-{ending}"))
        error = TalkheadError(Code.STORE, f"said {CANARY}-{ending}", f"not {CANARY}-{ending}")
        assert CANARY not in json.dumps(logs.wire(error))
    logs.event("job.taken", settings=settings)
    assert len(lines(out)) == 2 * len(endings) + 1
    assert CANARY not in out.getvalue()


def test_secrets_of_one_job_go_while_it_runs(out: io.StringIO) -> None:
    logs.setup(Settings(), out)
    own = S3(kind="s3", bucket="b", secret_key=SecretStr("the-callers-own"))
    with logs.hiding(own), logs.hiding(own):
        logs.event("job.taken", text="the-callers-own")
    logs.event("job.taken", text="the-callers-own")
    assert [line["details"]["text"] for line in lines(out)] == ["[redacted]", "the-callers-own"]


SECRETIVE = {
    "url": f"https://user:{CANARY}@127.0.0.1/a?token={CANARY}#{CANARY}",
    "data": f"data:text/plain,{CANARY}",
    "header": f"Authorization: Bearer {CANARY}",
}


def string_fields(model: type[BaseModel], path: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """Yield the path of every field of a model, and of those inside it, that takes a string."""
    for name, field in model.model_fields.items():
        yield from _of_type(field.annotation, (*path, name))


def _of_type(kind: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
    if kind is str:
        yield path
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield path  # a string in the place of an object
        yield from string_fields(kind, path)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        yield path
    elif origin is tuple:
        yield from _of_type(inner[0], (*path, 0))
    elif origin is dict:
        yield (*path, "any")
    elif origin in {typing.Union, types.UnionType, typing.Annotated}:
        for one in inner if origin is not typing.Annotated else inner[:1]:
            yield from _of_type(one, path)


TALK = {"action": "talk", "portrait": "library:astronaut.png", "speakers": [{"text": "Hi"}]}
MINIMAL: dict[str, dict[str, Any]] = {
    "talk": TALK,
    "batch": {"action": "batch", "items": [TALK]},
    "animate": {"action": "animate", "portrait": "library:a.png", "video": "library:b.mp4"},
    "portrait": {"action": "portrait", "prompt": "a face"},
    "speak": {"action": "speak", "text": "Hi"},
    "health": {"action": "health"},
    "capabilities": {"action": "capabilities"},
    "uploads": {"action": "uploads", "files": [{"name": "a.mp4", "bytes": 9}]},
}
PLACES = sorted(
    {
        (action, path)
        for action, model in request.ACTIONS.items()
        for path in string_fields(model)
        if path[0] != "items" or path == ("items", 0, "prompt")  # items are the requests above
    },
    key=str,
)


def planted(action: str, path: tuple[str | int, ...], canary: str) -> dict[str, Any]:
    payload: Any = json.loads(json.dumps(MINIMAL[action]))
    at = payload
    for step, following in itertools.pairwise(path):
        if isinstance(at, dict) and not isinstance(at.get(step), dict | list):
            at[step] = [{}] if following == 0 else {}
        at = at[step]
    if isinstance(at, list) and not at:
        at.append(canary)
    at[path[-1]] = canary
    if path[0] == "options":
        payload["engine"] = "draft"
    return typing.cast("dict[str, Any]", payload)


def test_the_walk_finds_the_fields() -> None:
    assert ("talk", ("speakers", 0, "audio")) in PLACES
    assert ("talk", ("output", "prefix")) in PLACES
    assert ("speak", ("sample",)) in PLACES
    assert len(PLACES) > 60


@pytest.mark.parametrize("canary", SECRETIVE.values(), ids=SECRETIVE)
def test_no_canary_of_a_request_gets_out(out: io.StringIO, tmp_path: Path, canary: str) -> None:
    """A secret in any string of a request: no line and no answer of a failed job holds it."""
    settings = Settings(
        jobs=tmp_path / "jobs", store=Local(root=tmp_path / "out"), log_level="debug"
    )
    logs.setup(settings, out)
    runtime = Runtime(settings, None, local_paths=False)
    failed = 0
    for action, path in PLACES:
        # what is valid as it stands ends at a picture that is not there
        payload = planted(action, path, canary)
        if action == "talk" and path != ("portrait",):
            payload["portrait"] = "library:missing.png"
        logs.event("job.taken", job_id=payload.get("idempotency_key"), level="debug", **payload)
        if action in {"health", "capabilities", "speak"} and "dry_run" in payload:
            continue
        try:
            with naming(None):
                job.run(parse(payload), runtime, lambda _: None)
        except TalkheadError as error:
            failed += 1
            logs.failure(error, payload.get("idempotency_key"))
            assert CANARY not in json.dumps(logs.wire(error)), (action, path)
    assert failed > 50
    for line in out.getvalue().splitlines():
        at = line.find(CANARY)
        assert at < 0, line[max(at - 300, 0) : at + 300]


WRITER = """
import sys
from pathlib import Path
from talkhead.serve import logs
from talkhead.settings import Settings

path, number = Path(sys.argv[1]), int(sys.argv[2])
logs.setup(Settings(log_file=path.with_name("rotating.log")))
for count in range(60):
    logs.event("job.taken", writer=number, count=count, text="x y " * 3000)
"""


def test_lines_of_many_processes_stay_whole(tmp_path: Path) -> None:
    """Longer than a pipe takes at once, from three processes, into one stream and one file."""
    shared = tmp_path / "stdout"
    with shared.open("ab") as stdout:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(shared), str(n)], stdout=stdout)
            for n in range(3)
        ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for file in (shared, tmp_path / "rotating.log"):
        found = lines(file)
        assert len(found) == 180
        for number in range(3):
            own = [line["details"] for line in found if line["details"]["writer"] == number]
            assert [details["count"] for details in own] == list(range(60))


def test_lines_of_many_threads_stay_whole() -> None:
    reading, writing = os.pipe()
    got: list[bytes] = []
    with os.fdopen(reading, "rb") as source:
        reader = threading.Thread(target=lambda: got.append(source.read()))
        reader.start()
        with os.fdopen(writing, "w") as stream:
            logs.setup(Settings(), stream)
            threads = [
                threading.Thread(
                    target=lambda: [logs.event("job.taken", text="a b " * 3000) for _ in range(30)]
                )
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            logs.close()
        reader.join()
    assert len([json.loads(line) for line in got[0].splitlines()]) == 120


def test_the_file_rotates(
    out: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    file = tmp_path / "deep" / "talkhead.log"
    logs.setup(Settings(log_file=file), out)
    for count in range(100):
        logs.event("job.taken", count=count)
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == [f"talkhead.log{end}" for end in ("", ".1", ".2", ".3", ".lock")]
    counts: list[int] = []
    for end in (".3", ".2", ".1", ""):
        part = file.with_name(file.name + end)
        assert part.stat().st_size <= 1000
        counts += [line["details"]["count"] for line in lines(part)]
    assert counts == list(range(100))[-len(counts) :]
    assert len(lines(out)) == 100


def test_a_file_that_was_moved_away_begins_anew(out: io.StringIO, tmp_path: Path) -> None:
    file = tmp_path / "talkhead.log"
    logs.setup(Settings(log_file=file), out)
    logs.event("job.taken")
    file.rename(tmp_path / "moved")
    logs.event("job.taken")
    assert len(lines(file)) == len(lines(tmp_path / "moved")) == 1


def test_a_file_that_fails_is_told_once(out: io.StringIO, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "talkhead.log"
    logs.setup(Settings(log_file=file), out)
    for path in [file, file.with_name("talkhead.log.lock")]:
        path.unlink()
    file.parent.rmdir()
    for _ in range(3):
        logs.event("job.taken")
    assert [line["event"] for line in lines(out)].count("log.file_failed") == 1
    file.parent.mkdir()
    logs.event("job.taken")
    assert len(lines(file)) == 2  # it, and how many are not there


def test_a_file_that_cannot_be_opened_is_a_setting_to_correct(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TalkheadError, match="cannot log to") as caught:
        logs.setup(Settings(log_file=tmp_path / "file" / "talkhead.log"))
    assert caught.value.code is Code.INPUT


def test_logging_inside_logging_does_not_hang(out: io.StringIO) -> None:
    """A signal handler may log while a line is being written."""

    class Stream(io.StringIO):
        entered = False

        def write(self, text: str) -> int:
            if not self.entered:
                self.entered = True
                with suppress(RecursionError):
                    logs.event("worker.stopping")
            return super().write(text)

    stream = Stream()
    logs.setup(Settings(), stream)
    logs.event("job.taken")
    assert {line["event"] for line in lines(stream)} == {"job.taken", "worker.stopping"}


def test_a_lock_that_stays_held_does_not_hold_up_the_worker(
    tmp_path: Path, out: io.StringIO
) -> None:
    path = tmp_path / "log"
    logs.setup(Settings(log_file=path), out)
    logs.event("job.taken", job_id="first")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{path}.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        logs.event("job.taken", job_id="meanwhile")
        assert time.monotonic() - began < 2
        assert holder.stdin is not None
        holder.stdin.close()
    logs.event("job.taken", job_id="after")
    assert [line["job_id"] for line in lines(path)] == ["first", "after", None]
    assert lines(path)[-1]["details"]["lost"] == 2  # it, and the news of its loss
    assert [line["job_id"] for line in lines(out)][:2] == ["first", "meanwhile"]
