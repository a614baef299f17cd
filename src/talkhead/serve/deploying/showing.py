"""What `talkhead deploy` prints."""

import json
from collections.abc import Sequence
from pathlib import Path

from talkhead import settings
from talkhead.errors import Code, TalkheadError
from talkhead.serve import console, deploying
from talkhead.serve.deploying import rest
from talkhead.serve.deploying.file import Json, read


def dry_run(path: Path, engine: str | None, image: str | None, as_json: bool) -> None:
    """Print every call that `apply` would make in an empty account. Asks nobody, needs no key."""
    wanted = read(path, engine=engine, image=image)
    made = deploying.calls(wanted)
    if as_json:
        shown = [{"method": c.method, "url": rest.BASE + c.path, "body": c.body} for c in made]
        console.as_json({"engine": wanted.engine, "calls": shown, "by_hand": wanted.by_hand})
        return
    console.out(f"engine {wanted.engine}: two calls, for an account that has neither yet.")
    console.out("What is there by its name is changed with PATCH, and only where it differs.")
    for call in made:
        console.out(f"\n{call.method} {rest.BASE}{call.path}")
        console.out(json.dumps(call.body, indent=2, ensure_ascii=False))
    _by_hand(wanted.by_hand)


def applied(
    path: Path, engine: str | None, image: str | None, *, again: bool, as_json: bool
) -> None:
    """Make the template and the endpoint what the file says, and print what was done."""
    wanted = read(path, engine=engine, image=image)
    key = settings.runpod_key()
    if key is None:
        raise TalkheadError(
            Code.INPUT,
            "RUNPOD_API_KEY is not set",
            "make a key in RunPod's console (Settings, API Keys) and put it into the environment",
        )
    told = (lambda _: None) if as_json else _line
    done = deploying.apply(wanted, key.get_secret_value(), again=again, told=told)
    url = f"{deploying.SERVED}/{done[-1].id}"
    by_hand = [*wanted.by_hand, *_left(done)]
    if as_json:
        said: Json = {"url": url}
        said |= {d.kind: {"id": d.id, "did": d.did, "fields": list(d.fields)} for d in done}
        said["untold"] = sorted({name for d in done for name in d.untold})
        console.as_json({**said, "by_hand": by_hand})
        return
    untold = sorted({name for d in done if d.did == "same" for name in d.untold})
    if untold:
        console.out(
            f"not compared, since RunPod does not tell: {', '.join(untold)} (--again sends)"
        )
    _by_hand(by_hand)
    console.out(f"\n{url}")
    console.out(f"next: talkhead smoke {url}")


def _line(done: deploying.Done) -> None:
    what = {
        "created": "created",
        "changed": f"changed: {', '.join(done.fields)}",
        "same": "as it should be",
    }
    console.out(f"{done.kind:<8}  {done.name}  {done.id}  {what[done.did]}")


def _left(done: list[deploying.Done]) -> list[str]:
    return [
        f"the {item.kind} has {what}, which the file does not name: take it off in the console"
        for item in done
        for what in item.attached
    ]


def _by_hand(lines: Sequence[str]) -> None:
    if lines:
        console.out("\nby hand:")
        for line in lines:
            console.out(f"- {line}")
