"""What the child does with one order, without the process around it."""

import io
import threading
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress, Result
from talkhead.serve import child, logs
from talkhead.settings import S3, Settings
from talkhead.stores import Shelf


class Pipe:
    """Takes messages."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_bytes(self, data: bytes) -> None:
        self.sent.append(data)


class Shop:
    """A runtime, and its store too, that only tells where it delivers to."""

    def __init__(self, to: S3 | None = None) -> None:
        self.to = to
        self.closed = False

    def delivering_to(self, store: S3) -> "Shop":
        return Shop(store)

    def shelf(self) -> Shelf:
        return Shelf("default", self)  # type: ignore[arg-type]

    def close(self) -> None:
        self.closed = True


def answer(run: Any, store: dict[str, Any] | None = None) -> dict[str, Any]:
    order = {"id": "j", "request": {"action": "health"}, "store": store}
    given = child._Given(order, threading.Event())
    return child._answer(given, Shop(), run, child.Line(Pipe()))  # type: ignore[arg-type]


def test_a_store_of_the_callers_own_is_delivered_to() -> None:
    shops: list[Shop] = []

    def run(request: object, runtime: Shop, report: object, **more: object) -> Result:
        shops.append(runtime)
        return Result(action="health", version="1")

    own = {"kind": "s3", "bucket": "mine", "access_key": "AKIA", "secret_key": "hush"}
    assert answer(run, own)["kind"] == "result"
    assert answer(run)["kind"] == "result"
    assert [shop.closed for shop in shops] == [True, False]
    seen = [shop.to for shop in shops]
    assert seen[0] is not None
    assert seen[0].secret_key is not None
    assert (seen[0].bucket, seen[0].secret_key.get_secret_value()) == ("mine", "hush")
    assert seen[1] is None


def test_its_secrets_do_not_come_back_in_an_error() -> None:
    def run(*_args: object, **_more: object) -> Result:
        raise TalkheadError(Code.STORE, "signature of a-long-secret-key refused")

    own = {"kind": "s3", "bucket": "mine", "access_key": "AKIA", "secret_key": "a-long-secret-key"}
    logs.setup(Settings(), io.StringIO())
    try:
        error = answer(run, own)["error"]
    finally:
        logs.close()
    assert error["code"] == "E_UPLOAD"
    assert "a-long-secret-key" not in error["message"]


def test_progress_travels_whole() -> None:
    pipe = Pipe()
    step = Progress("render", 1, 2, 50.0, 1, 2, 3.5)

    def run(request: object, runtime: object, report: Any, **more: object) -> Result:
        report(step)
        return Result(action="health", version="1")

    given = child._Given(
        {"id": "é", "request": {"action": "health"}, "store": None}, threading.Event()
    )
    child._answer(given, Shop(), run, child.Line(pipe))  # type: ignore[arg-type]
    message = child.json.loads(pipe.sent[0])
    assert (message["kind"], message["id"]) == ("progress", "é")
    assert Progress(**message["progress"]) == step


def test_a_batch_in_which_memory_ran_out_ends_the_process_too() -> None:
    error = {"code": Code.OOM.value}
    ends = [{"index": 0, "error": None}, {"index": 1, "error": error}]
    assert child._ran_out({"kind": "result", "result": {"items": ends}})
    assert not child._ran_out({"kind": "result", "result": {"items": ends[:1]}})
    assert child._ran_out({"kind": "error", "error": error})
    assert not child._ran_out({"kind": "error", "error": {"code": Code.NO_FACE.value}})


def test_what_makes_a_process_warm() -> None:
    made = {"kind": "result", "result": {"repeated": False}}
    known = {"kind": "result", "result": {"repeated": True}}
    failed = {"kind": "error", "error": {}}
    assert child._worked({}, made)
    assert child._worked({"action": "talk"}, failed)
    assert not child._worked({"action": "talk"}, known)
    assert not child._worked({"action": "health"}, made)
    assert not child._worked({"dry_run": True}, made)
