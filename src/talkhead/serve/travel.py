"""How files of this machine reach an endpoint: inside the request, or put somewhere before it.

What fits travels inside, as data: URIs. Where all does not fit, the largest files go another way,
the first that there is: PUT /uploads of a talkhead server, the user's own store, the endpoint's
action `uploads`. Where there is none, nothing is sent.
"""

import base64
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talkhead import registry
from talkhead.aliases.families import recognise
from talkhead.errors import Code, TalkheadError
from talkhead.folder import file_digest
from talkhead.intake import REFERENCES
from talkhead.media.fetch import SCHEMES
from talkhead.serve.client import RUN_BYTES, Client, packed
from talkhead.settings import S3, Settings, Supabase
from talkhead.stores import Store
from talkhead.stores.keys import safe_part
from talkhead.stores.mimes import mime_of
from talkhead.uploads import FOLDER

INSIDE = "data:application/octet-stream;base64,"  # what it is, its bytes say
ROOM = 1000  # bytes of the body for what is added at the end: a key
LINK_S = 86_400  # that a link to the user's own store works: the queue may be long

Payload = dict[str, Any]
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A file of this machine that a request names, and where in the request."""

    holder: Payload
    name: str
    path: Path
    size: int

    @property
    def inside(self) -> int:
        """Return how many bytes it takes in the request, as base64."""
        return len(INSIDE) + 4 * -(-self.size // 3)

    @property
    def shown(self) -> str:
        """Return its name and size, for people."""
        return f"{self.path.name} ({self.size / 1e6:.1f} MB)"


def canonical(payload: Mapping[str, Any]) -> bool:
    """Return whether a payload is of this version: an older one is sent as it is."""
    return recognise(dict(payload)) is None


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: a request, and beside it what is the platform's, such as policy."""

    payload: Payload
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Return its bytes on the wire."""
        return len(packed({"input": self.payload, **self.extras}))


def resolved(body: Body, client: Client, settings: Settings, told: Told) -> Body:
    """Return the body with references that work at the endpoint, small enough to be sent.

    Raises E_UNSUPPORTED where a file cannot reach it; no job is sent before.
    """
    payload = copy.deepcopy(body.payload)
    body = Body(payload, body.extras)
    found = list(_local(payload, "")) if canonical(payload) else []
    large = _too_much(body, found)
    for file in found:
        if file.path not in {other.path for other in large}:
            coded = base64.b64encode(file.path.read_bytes()).decode()
            file.holder[file.name] = INSIDE + coded
    if large:
        paths = {file.path: file for file in large}
        sent = _sent(list(paths.values()), client, settings, told)
        for file in large:
            file.holder[file.name] = sent[file.path]
    if body.size > RUN_BYTES - ROOM:
        raise TalkheadError(
            Code.INPUT,
            f"the request has {body.size / 1e6:.1f} MB, over the {RUN_BYTES / 1e6:.0f} MB of /run",
            "name files by links in place of base64",
        )
    return body


def _local(value: Any, path: str) -> Iterator[Found]:
    """Yield every file that a canonical request names by its path."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _local(item, f"{path}{index}.")
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in REFERENCES and isinstance(item, str):
                if not item.startswith(SCHEMES):
                    yield _file(value, name, f"{path}{name}")
            elif name != "options":  # an engine's own names
                yield from _local(item, f"{path}{name}.")


def _file(holder: Payload, name: str, at: str) -> Found:
    path = Path(holder[name]).expanduser().absolute()
    problem = ""
    try:
        with path.open("rb"):
            size = path.stat().st_size
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "not a path"
    else:
        problem = "" if size else "the file is empty"
    if problem:
        raise TalkheadError(
            Code.INPUT, f"{at}: cannot read {path.name[:200]}: {problem}", "check the path",
            fields=[at],
        )  # fmt: skip
    return Found(holder, name, path, size)


def _too_much(body: Body, found: Sequence[Found]) -> list[Found]:
    """Return the files that have to go another way, the largest first, so that the rest fits."""
    left = sorted(found, key=lambda file: file.size)
    total = body.size + sum(file.inside for file in left)
    gone = []
    while left and total > RUN_BYTES - ROOM:
        file = left.pop()
        total -= file.inside
        gone.append(file)
    return gone


def _sent(
    files: Sequence[Found], client: Client, settings: Settings, told: Told
) -> dict[Path, str]:
    """Put files where the endpoint can fetch them; return their references."""
    store = settings.store
    if client.is_ours():
        return {file.path: _uploaded(file, client, told) for file in files}
    if isinstance(store, S3 | Supabase):
        opened: Store = registry.resolve("store", store.kind, registry.STORES).open(store)
        try:
            return {file.path: _stored(file, opened, store.prefix, told) for file in files}
        finally:
            opened.close()
    told(f"asking the endpoint where to put {', '.join(file.shown for file in files)}")
    try:
        references = client.lend(*(file.path for file in files))
    except TalkheadError as error:
        if error.code not in (Code.INPUT, Code.UNSUPPORTED):
            raise
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"{', '.join(file.shown for file in files)}: too large to travel in a request "
            f"({RUN_BYTES / 1e6:.0f} MB in all), and the endpoint takes no uploads",
            "give an https link, set TALKHEAD_STORE__KIND=s3 or supabase on this machine, or use a "
            f"talkhead server. The endpoint said: {error.message}",
        ) from error
    return dict(zip((file.path for file in files), references, strict=True))


def _uploaded(file: Found, client: Client, told: Told) -> str:
    told(f"sending {file.shown}")
    return client.upload(file.path)


def _stored(file: Found, store: Store, prefix: str, told: Told) -> str:
    """Put a file into the user's own store, where it is not there yet; return a signed link."""
    told(f"putting {file.shown} into your store")
    digest, name = file_digest(file.path), safe_part(file.path.name)
    key = "/".join(part for part in (prefix.strip("/"), FOLDER, digest[:32], name) if part)
    if store.size(key) != file.size:
        store.put(file.path, key, mime=mime_of(file.path.name), sha256=digest)
    return store.link(key, "signed", LINK_S).url
