"""`talkhead submit`: send a request to an endpoint, follow its job, bring the result home."""

import signal
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from talkhead.errors import EXIT_CODES, Code, TalkheadError
from talkhead.request import ACTIONS, Job
from talkhead.result import Result
from talkhead.serve import arrivals, console, replies, travel, words
from talkhead.serve.arrivals import Wanted
from talkhead.serve.client import FINAL, Client
from talkhead.serve.console import Show
from talkhead.serve.endpoint import Endpoint
from talkhead.serve.following import moment
from talkhead.serve.travel import Body
from talkhead.settings import Settings
from talkhead.stores.keys import safe_part

SUFFIXES = {"talk": ".mp4", "animate": ".mp4", "speak": ".wav", "portrait": ".png"}
Payload = dict[str, Any]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command line wants beside the job itself."""

    out: Path | None = None
    force: bool = False
    thumbnail: bool = False
    detach: bool = False
    cancels: bool = False  # on Ctrl-C
    json: bool = False


def submit(body: Body, endpoint: Endpoint, settings: Settings, wish: Wish) -> None:
    """Send a request, and unless detached follow it to its end and save what it made."""
    file = _file(body.payload, wish)
    wish = replace(wish, thumbnail=wish.thumbnail or _asks_for_thumbnail(body.payload))
    with console.bar(wish.json) as show, _opened(endpoint, show) as client:
        following = _Following(client, endpoint, wish, file, show)
        with following.interruptible():
            show("send", 0.0, "")
            following.send(
                travel.resolved(body, client, settings, lambda told: show("upload", 0.0, told))
            )
            made = None if wish.detach else following.fetch(following.end())
    if made is None:
        _detached(following.job_id, endpoint, wish)
    else:
        _told(*made, wish)


def watch(job_id: str, endpoint: Endpoint, wish: Wish) -> None:
    """Follow a job that was sent before, and save what it made."""
    out = wish.out
    file = words.output(out, None, out.suffix.lower(), wish.force) if out else None
    with console.bar(wish.json) as show, _opened(endpoint, show) as client:
        following = _Following(client, endpoint, wish, file, show, job_id)
        with following.interruptible():
            made = following.fetch(following.end())
    _told(*made, wish)


class _Following:
    """One job of an endpoint, from sending it to having its files."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        wish: Wish,
        file: Path | None,
        show: Show,
        job_id: str = "",
    ) -> None:
        self._client, self._endpoint, self._wish = client, endpoint, wish
        self._file, self._show = file, show
        self.job_id, self._ended = job_id, False

    def send(self, body: Body) -> None:
        """Queue the request so that a lost answer makes no second job, as far as can be.

        A talkhead server takes the job's id from us. A plain endpoint gets a key in the request:
        a repeat is answered once, though it may be listed twice. What is not of this version is
        sent once, as it is.
        """
        if self._client.is_ours():
            self.job_id = str(uuid.uuid4())
            self._client.put(self.job_id, body.payload, **body.extras)
            return
        payload = body.payload
        if _takes_key(payload) and not payload.get("idempotency_key"):
            payload = {**payload, "idempotency_key": f"submit-{uuid.uuid4().hex}"}
        self.job_id = str(self._client.run(payload, **body.extras).get("id") or "")
        if not self.job_id:
            raise TalkheadError(
                Code.UNSUPPORTED, "the endpoint gave the job no id", "check the endpoint's address"
            )

    def end(self) -> Json:
        """Show how the job goes on, and return its last status body."""
        last: Json = {}
        try:
            patience = self._endpoint.patience_s
            for last in self._client.events(self.job_id, patience_s=patience):
                if last.get("status") not in FINAL:
                    self._show(*moment(last))
        except TalkheadError as error:
            if error.retryable:  # it is the way that failed, not the job
                error.hint = f"the job may go on: {self._command()}"
            raise
        self._ended = True
        return last

    def fetch(self, body: Mapping[str, Any]) -> tuple[Json, list[Path]]:
        """Return a job's result and the files saved of it, or raise the job's own error."""
        result = replies.result(body)
        if not arrivals.mains(result):
            return result, []
        name = safe_part(self.job_id) + arrivals.suffix_of(result)
        file = self._file or words.output(None, name, arrivals.suffix_of(result), self._wish.force)
        wanted = Wanted(file, self._wish.force, self._wish.thumbnail, self._endpoint.loopback)
        self._show("download", 100.0, file.name)
        try:
            return result, arrivals.save(self._client, body.get("output"), result, wanted)
        except TalkheadError as error:
            if error.code is not Code.UNSUPPORTED:
                error.hint = f"{error.hint}. The job is done: {self._command()}"
            raise

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the watching; the job goes on, unless wished otherwise."""
        ends = (signal.SIGINT, signal.SIGTERM)  # the first too: a shell's "&" has it ignored
        before = [signal.signal(number, signal.default_int_handler) for number in ends]
        try:
            yield
        except KeyboardInterrupt as interrupt:
            self._leave()
            raise typer.Exit(EXIT_CODES[Code.CANCELLED]) from interrupt
        finally:
            for number, handler in zip(ends, before, strict=True):
                signal.signal(number, handler)

    def _leave(self) -> None:
        if not self.job_id:
            console.aside("stopped before the endpoint had answered")
        elif self._ended:
            console.aside(f"the job is done; fetch what it made with: {self._command()}")
        elif self._wish.cancels:
            with suppress(TalkheadError):
                self._client.cancel(self.job_id)
                console.aside(f"job {self.job_id} is cancelled")
                return
            console.aside(f"the job could not be cancelled; it goes on: {self._command()}")
        else:
            console.aside(f"the job goes on; watch it with: {self._command()}")

    def _command(self) -> str:
        out = ("-o", self._file) if self._file else ()
        return self._endpoint.command(self.job_id, *out)


@contextmanager
def _opened(endpoint: Endpoint, show: Show) -> Iterator[Client]:
    """Open a client whose waiting is shown."""

    def waits(seconds: float, why: TalkheadError) -> None:
        show("wait", None, f"{why.message}; again in {console.shown_time(seconds)}")

    with endpoint.open(waits) as client:
        yield client


def _asks_for_thumbnail(payload: Payload) -> bool:
    output = payload.get("output")
    return isinstance(output, dict) and output.get("thumbnail") is True


def _file(payload: Payload, wish: Wish) -> Path | None:
    """Return the file to write, None where no file will come; raise where it cannot be written."""
    if wish.detach and wish.out is None:
        return None
    own = wish.out.suffix.lower() if wish.out else None
    if not travel.canonical(payload):
        return words.output(wish.out, None, own or ".mp4", wish.force)
    action = payload.get("action", "talk")
    suffix = SUFFIXES.get(action) if isinstance(action, str) else None
    if suffix is None or payload.get("dry_run"):
        suffix = own
    if suffix is None:
        return None
    named_after = payload.get("portrait") or payload.get("video")
    file = words.output(wish.out, named_after, suffix, wish.force)
    words.keep_inputs(file, payload)
    return file


def _takes_key(payload: Payload) -> bool:
    action = payload.get("action", "talk")
    model = ACTIONS.get(action) if isinstance(action, str) else None
    return travel.canonical(payload) and model is not None and issubclass(model, Job)


def _detached(job_id: str, endpoint: Endpoint, wish: Wish) -> None:
    if wish.json:
        console.as_json({"id": job_id})
        return
    console.out(job_id)
    out = ("-o", wish.out) if wish.out else ()
    console.aside(f"watch it with: {endpoint.command(job_id, *out)}")


def _told(result: Json, files: list[Path], wish: Wish) -> None:
    """Print a result: as JSON without what was saved, or in a few lines."""
    if wish.json:
        saved = {id(made): str(file) for made, file in _pairs(result, files)}
        outputs = [_without_file(made, saved.get(id(made))) for made in result.get("outputs", ())]
        console.as_json({**result, **({"outputs": outputs} if outputs else {})})
        return
    known = _known(result)
    if known is None or (not files and known.plan is None):
        console.as_json(result)
    elif not files:
        console.planned(known, None, json_wanted=False)
    else:
        console.job_done(known, files[0], json_wanted=False)
    for file in files[1:]:
        console.out(str(file))


def _pairs(result: Json, files: list[Path]) -> list[tuple[Json, Path]]:
    mains = arrivals.mains(result)
    others = [made for made in result.get("outputs", ()) if made not in mains]
    return list(zip([*mains, *others], files, strict=False))


def _without_file(made: Json, saved: str | None) -> Json:
    """Return an output as it is shown: where it was saved, in place of its bytes."""
    carried = str(made.get("url") or "").startswith("data:")
    gone = {"data", *(("url",) if carried else ())}
    kept = {name: value for name, value in made.items() if name not in gone}
    return kept if saved is None else {**kept, "file": saved}


def _known(result: Json) -> Result | None:
    """Return a result as this version has it; None where another version's does not fit."""
    fields = {name: value for name, value in result.items() if name in Result.model_fields}
    try:
        return Result.model_validate(fields)
    except ValidationError:
        return None
