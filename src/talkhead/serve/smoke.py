"""`talkhead smoke`: one small job on an endpoint, its answer and its file held against bars."""

import base64
import copy
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from talkhead import quality
from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import SCHEMES, Places, Wanted, fetch_all
from talkhead.request import Size, Talk
from talkhead.result import Made, Result
from talkhead.serve import checking, console, following, replies, smoke_checks, words
from talkhead.serve.client import Client
from talkhead.serve.following import Json, Patience, Told
from talkhead.serve.smoke_checks import Check, Expected, held
from talkhead.validation import parse, validate

# Two seconds of the bundled speech: enough for the correlation of lips and sound, and cheap.
REQUEST: Json = {
    "action": "talk",
    "portrait": "library:astronaut.png",
    "speakers": [{"audio": "library:librivox.flac"}],
    "size": "256x256",
    "fit": "face",
    "duration": 2,
    "sampling": {"seed": 7},
    "output": {"prefix": "smoke", "thumbnail": False},
}
BARS = "r=0.35,lag_ms=120"  # below, the check's own grade is "poor"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
AT_HAND = ("library:", "data:")  # speech that this side can read as the endpoint does


@dataclass(frozen=True, slots=True)
class Outcome:
    """All checks of one test, in order, and what the endpoint said."""

    checks: tuple[Check, ...]
    body: Json  # the last status
    result: Result | None

    @property
    def passed(self) -> bool:
        """Return whether every check was passed."""
        return all(check.passed for check in self.checks)


def asked(file: Path | None, settings: list[str]) -> Json:
    """Return the request to send: a file's or the small one, with settings, under a fresh key."""
    payload = copy.deepcopy(REQUEST) if file is None else words.load(file)
    words.assign(payload, settings)
    # a key that was used before would be answered from the store, and nothing would be tested
    payload["idempotency_key"] = f"smoke-{secrets.token_hex(6)}"
    request = parse(payload)
    if not isinstance(request, Talk) or request.dry_run:
        raise TalkheadError(
            Code.INPUT, "this needs a talk request that renders", "see docs/acceptance.md"
        )
    speakers = [(f"speakers.{at}.audio", one.audio) for at, one in enumerate(request.speakers)]
    for name, ref in (request.face_source, *speakers):
        if ref is not None and not ref.startswith(SCHEMES):
            raise TalkheadError(
                Code.INPUT,
                f"{name}: {ref} is a path of this machine, which the endpoint cannot read",
                "name it by https:, data:, library:, volume: or store:",
                fields=[name],
            )
    return payload


def expected(size: str | None, fps: str | None, bars: str | None, prefix: str | None) -> Expected:
    """Return what the options of the command line ask for."""
    wanted = checking.parse_bars(BARS if bars is None else bars)
    quality.check_names(wanted)
    sides = None
    if size is not None:
        found = validate(Size, size, "--size")
        if found.width is None or found.height is None:
            raise TalkheadError(Code.INPUT, f"--size {size}: not both sides", "write 256x256")
        sides = found.width, found.height
    return Expected(sides, _rate(fps), wanted, prefix)


def trial(
    client: Client,
    payload: Json,
    wanted: Expected,
    patience: Patience,
    *,
    repeat: bool = False,
    told: Told = lambda _body: None,
) -> Outcome:
    """Run a request on an endpoint and check all that comes of it.

    What the endpoint does wrong is a check that was not passed. Raises E_CANCELLED where it was
    stopped from this side.
    """
    body, result, error = _run(client, payload, patience, told)
    checks = [held("job", result is not None, _job(body), "COMPLETED", _reason(error))]
    if result is not None:
        request = parse(payload)
        assert isinstance(request, Talk)  # noqa: S101 (see `asked`)
        with tempfile.TemporaryDirectory(prefix="talkhead-smoke-") as folder:
            checks += _of_answer(client, request, result, wanted, Path(folder))
    if result is not None and repeat:
        second, again, error = _run(client, payload, patience, told)
        if again is None:
            checks.append(held("repeat", False, _job(second), "stored", _reason(error)))
        else:
            checks += smoke_checks.repeated(result, again)
    return Outcome(tuple(checks), body, result)


def show(outcome: Outcome, base: str, json: bool) -> None:
    """Print the checks as a table, or all of it as JSON without links, which may be signed."""
    body, result = outcome.body, outcome.result
    if json:
        job = {name: body[name] for name in body if name not in ("output", "error", "stream")}
        links = {"outputs": {"__all__": {"url", "data"}}}
        console.as_json(
            {
                "endpoint": following.address(base),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "passed": outcome.passed,
                "checks": [check.as_dict() for check in outcome.checks],
                "job": job,
                "result": result and result.model_dump(mode="json", exclude=links),
            }
        )
        return
    rows = [
        (check.name, check.value, check.bar, "ok" if check.passed else "FAILED")
        for check in outcome.checks
    ]
    console.table(f"Smoke test of {following.address(base)}", ("check", "value", "bar", ""), rows)
    if result is not None and result.cost:
        console.out(f"cost {console.shown_cost(result.cost)}")
    failed = [check for check in outcome.checks if not check.passed]
    for check in failed:
        console.out(f"{check.name}: {check.reason}")
    verdict = f"{len(failed)} failed" if failed else "all passed"
    many = "check" if len(outcome.checks) == 1 else "checks"
    console.out(f"{len(outcome.checks)} {many}, {verdict}")


def _run(
    client: Client, payload: Json, patience: Patience, told: Told
) -> tuple[Json, Result | None, TalkheadError | None]:
    """Run a request; return its last status, and its result or what went wrong."""
    body: Json = {}
    try:
        body = following.ended(client, following.submitted(client, payload), patience, told)
        return body, _read(replies.result(body)), None
    except TalkheadError as error:
        if patience.stop.is_set():
            raise
        return body, None, error


def _read(found: Json) -> Result:
    """Return a result, of a newer version too, or raise where it is none."""
    try:
        return Result.model_validate(found, extra="ignore")
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"the answer is no talkhead result: {field} is not what it should be"
        raise TalkheadError(Code.UNSUPPORTED, message, "check the endpoint's image") from error


def _of_answer(
    client: Client, request: Talk, result: Result, wanted: Expected, scratch: Path
) -> Iterator[Check]:
    """Check an answer and the video that it leads to."""
    fresh = not result.repeated
    yield held("rendered", fresh, "now" if fresh else "earlier", "now", "an older answer came back")
    made = result.video
    if made is None:
        yield held("video", False, "none", "one", "the answer names no video")
        return
    yield smoke_checks.key(made, request, wanted.prefix)
    try:
        file = _fetched(client, made, scratch / "video.mp4")
    except TalkheadError as error:
        yield held("file", False, "missing", "there", f"it cannot be fetched: {error.message}")
        return
    yield held("file", True, "there", "there")
    yield from smoke_checks.whole(file, made)
    facts = smoke_checks.facts_of(file)
    if isinstance(facts, Check):
        yield facts
        return
    yield from smoke_checks.picture(facts, request, result.plan, wanted)
    yield from smoke_checks.sound(file, facts, _speech(request, scratch), scratch)
    yield from smoke_checks.lips(file, wanted.bars)


def _fetched(client: Client, made: Made, target: Path) -> Path:
    """Return the file behind an answer's link, or in the answer itself."""
    link, data = made.url or "", made.data
    if not data and link.startswith("data:"):
        data = link.partition(",")[2]
    if data:
        try:
            target.write_bytes(base64.b64decode(data, validate=True))
        except ValueError as error:
            raise TalkheadError(Code.DOWNLOAD, "what is in the answer is not base64") from error
    elif link.startswith("file:") and urlsplit(client.base).hostname in LOOPBACK:
        try:  # a worker on this machine, with a store on its disk
            shutil.copyfile(unquote(urlsplit(link).path), target)
        except OSError as error:
            raise TalkheadError(Code.DOWNLOAD, f"{link}: {error.strerror}") from error
    elif link.startswith("file:"):
        raise TalkheadError(Code.DOWNLOAD, "its link leads to the disk of another machine")
    elif link:
        client.download(link, target)
    else:
        raise TalkheadError(Code.DOWNLOAD, "the answer has no link to it")
    return target


def _speech(request: Talk, scratch: Path) -> Path | None:
    """Return the speech that was sent, where it is at hand and is all that is heard."""
    first = request.speakers[0]
    alone = len(request.speakers) == 1 and not first.start and first.end is None
    if not alone or first.audio is None or not first.audio.startswith(AT_HAND):
        return None
    wanted = {"speakers.0.audio": Wanted(first.audio, "audio")}
    try:
        return fetch_all(wanted, scratch, Places(), lambda _done, _total: None)["speakers.0.audio"]
    except TalkheadError:  # in the endpoint's library alone
        return None


def _job(body: Json) -> str:
    parts = [str(body.get("status") or "not run")]
    for name, word in (("delayTime", "waited"), ("executionTime", "ran")):
        if isinstance(body.get(name), int | float):
            parts.append(f"{word} {body[name] / 1000:.1f} s")
    return ", ".join(parts)


def _reason(error: TalkheadError | None) -> str:
    return "" if error is None else f"{error.code}: {error.message}"


def _rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise TalkheadError(
            Code.INPUT, f"--fps {text!r} is not a frame rate", "write 25 or 30000/1001"
        ) from error
