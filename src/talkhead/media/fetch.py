"""References to files. What one may reach is set by the operator, not by the request."""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import refused, shown
from talkhead.media.pinned import SLICE_S, Watch
from talkhead.settings.groups import Fetching
from talkhead.stores import Tick

SCHEMES = ("https:", "http:", "data:", "store:", "volume:", "library:")
LAST_S = 5.0  # for downloads that were stopped to end; the network's ends in SLICE_S
STEP = 2**22  # characters of base64 decoded at once; a multiple of 4

Kind = Literal["image", "audio", "video", "media"]
Seen = Callable[[int, int], None]  # bytes so far, and in all (0: not known)
Bring = Callable[[Path, Seen], None]  # writes one new file


@dataclass(frozen=True, slots=True)
class Wanted:
    """A reference of a request, and what it should lead to; the kind sets the largest size."""

    ref: str
    kind: Kind = "media"


@dataclass(frozen=True, slots=True)
class Places:
    """Where references may lead."""

    local_paths: bool = False
    library: Path | None = None
    volumes: Sequence[Path] = ()
    store: Callable[[str, Path, int, Tick], bool] | None = None  # a store's `get`
    readable: tuple[str, ...] = ("",)  # beginnings of the keys that may be read
    fetching: Fetching = field(default_factory=Fetching)


@dataclass(frozen=True, slots=True)
class _Item:
    """One reference and all the fields that hold it."""

    ref: str
    fields: tuple[str, ...]
    limit: int  # bytes


def fetch_all(
    wanted: Mapping[str, Wanted], into: Path, places: Places, tick: Tick
) -> dict[str, Path]:
    """Return a local file for each field; what has to be written goes into the folder `into`.

    All references are judged before any of them is followed, then followed in parallel, each
    one once. `tick(bytes, bytes in all)` is called a few times a second; what it raises, like
    any failure, stops the others and leaves no file. Raises E_INPUT_VALIDATION for a reference
    that can never work and E_DOWNLOAD_FAILED for one that may, naming its fields.
    """
    watch = Watch.starting(places.fetching.deadline_s)
    found: dict[str, Path] = {}
    bring: dict[_Item, Bring] = {}
    items = _items(wanted, places.fetching)
    for item in items:
        with _naming(item.fields):
            way = _judge(item, places, watch)
        if isinstance(way, Path):
            found[item.ref] = way
        else:
            bring[item] = way
    found |= _bring_all(bring, into, watch, places.fetching.parallel, tick)
    return {field: found[want.ref] for field, want in wanted.items()}


def _items(wanted: Mapping[str, Wanted], fetching: Fetching) -> list[_Item]:
    """Return each reference once; the strictest of its kinds counts."""
    megabytes = {
        "image": fetching.image_mb,
        "audio": fetching.audio_mb,
        "video": fetching.video_mb,
        "media": fetching.video_mb,
    }
    uses: dict[str, list[str]] = {}
    for name, want in wanted.items():
        uses.setdefault(want.ref, []).append(name)
    limits = {name: int(megabytes[want.kind] * 2**20) for name, want in wanted.items()}
    return [
        _Item(ref, tuple(names), min(limits[name] for name in names)) for ref, names in uses.items()
    ]


def _judge(item: _Item, places: Places, watch: Watch) -> Path | Bring:
    """Return a file that is here already, or a way to bring it; nothing is contacted yet."""
    scheme, _, rest = item.ref.partition(":")
    match scheme.lower():
        case "data":
            return _data(rest, item.limit)
        case "library":
            return in_library(rest, places.library)
        case "volume":
            return _under(places.volumes, rest, item.ref)
        case "store":
            return _stored(rest, item.limit, places, watch)
        case "https" | "http":
            return _remote(item, places.fetching, watch)
    if not places.local_paths:
        raise refused("not a reference", f"use one of {', '.join(SCHEMES)}")
    return _local(item.ref)


def _remote(item: _Item, fetching: Fetching, watch: Watch) -> Bring:
    from talkhead.media import download  # noqa: PLC0415 (TLS and HTTP; most jobs need neither)

    url = download.check_url(item.ref, fetching)
    client = download.Client.open(fetching, watch)
    return lambda into, seen: download.download(url, into, item.limit, client, seen)


def _data(rest: str, limit: int) -> Bring:
    head, comma, body = rest.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise refused("not a base64 data: URI", "data:image/png;base64,....")
    if len(body) > limit * 4 // 3 + 4:
        raise refused(f"data: URI over {limit / 2**20:g} MB", "send a URL or a path")
    if not body or "=" in body[:-2]:
        raise _broken_data()
    return partial(_decode, body)


def _decode(body: str, into: Path, seen: Seen) -> None:
    """Write the bytes of a base64 text, piece by piece."""
    with into.open("xb") as file:
        for start in range(0, len(body), STEP):
            try:
                file.write(base64.b64decode(body[start : start + STEP], validate=True))
            except (binascii.Error, ValueError) as error:
                raise _broken_data() from error
            seen(file.tell(), len(body) * 3 // 4)


def _broken_data() -> TalkheadError:
    return refused("broken base64 in a data: URI", "encode the file again")


def _stored(key: str, limit: int, places: Places, watch: Watch) -> Bring:
    if not _is_inside(key):
        raise refused(f"{shown(f'store:{key}')!r} is not a key", "use a plain relative name")
    # unfinished jobs of any caller lie in .jobs
    if not key.startswith(places.readable) or ".jobs" in key.split("/"):
        raise refused(
            f"{shown(f'store:{key}')!r} may not be read",
            "the operator lists what may in TALKHEAD_READABLE",
        )
    if places.store is None:
        raise TalkheadError(
            Code.UNSUPPORTED, "there is no store to read from", "send the file another way"
        )
    return partial(_from_store, places.store, key, limit, watch)


def _from_store(
    get: Callable[[str, Path, int, Tick], bool],
    key: str,
    limit: int,
    watch: Watch,
    into: Path,
    seen: Seen,
) -> None:
    def tick(done: int, total: int) -> None:
        watch.check()
        seen(done, total)

    if not get(key, into, limit, tick):
        raise refused(f"{shown(f'store:{key}')!r} was not found", "check the key")


def in_library(name: str, library: Path | None) -> Path:
    """Return the file that library:NAME means: the operator's own, or else the bundle's.

    Raises E_INPUT_VALIDATION where there is none, or the name leads out of the folder.
    """
    own = [library] if library else []
    return _under(own, name, f"library:{name}", [bundle()])


def bundle() -> Path:
    """Return the folder of the files that come with talkhead."""
    return Path(str(files("talkhead.assets")))


def _is_inside(name: str) -> bool:
    """Return whether a name stays below whatever it is put under, on any system."""
    parts = name.split("/")
    odd = "\\" in name or not name.isprintable() or PureWindowsPath(name).drive
    return not odd and not any(part in ("", ".", "..") for part in parts)


def _under(own: Sequence[Path], name: str, ref: str, more: Sequence[Path] = ()) -> Path:
    """Return the file called name below one of the operator's own roots, or of more.

    Links may not lead out.
    """
    if not _is_inside(name):
        raise refused(
            f"{shown(ref)!r} does not stay inside its folder", "use a plain relative name"
        )
    for root in (*own, *more):
        path = Path(os.path.realpath(root / PurePosixPath(name)))
        if path.is_relative_to(os.path.realpath(root)) and _is_regular(path):
            return path
    kind = ref.partition(":")[0].lower()
    setting = {"library": "TALKHEAD_LIBRARY", "volume": "TALKHEAD_VOLUMES"}[kind]
    hint = "check the name and the operator's folders"
    if not own:
        hint = f"{setting} is not set: the operator names there the folder behind {kind}:"
    raise refused(f"{shown(ref)!r} was not found", hint)


def _is_regular(path: Path) -> bool:
    """Return whether a path is a file that can be read, opening no device, pipe or link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _local(ref: str) -> Path:
    """Return a path of this machine, as its user wrote it."""
    if len(ref) > 4096 or "\0" in ref:
        raise refused("not a path", "give the path of a file")
    name = shown(ref)
    try:
        path = Path(ref).expanduser()
        if path.is_dir():
            raise refused(f"{name} is a folder", "give one file")
        if not path.exists():
            raise refused(f"no such file: {name}", "check the path")
        if not path.is_file():
            raise refused(f"{name} is not a regular file", "give a file on disk")
        path.open("rb").close()
    except OSError as error:
        raise refused(f"cannot read {name}: {error.strerror}", "check its permissions") from error
    except RuntimeError as error:  # what expanduser says of an unknown user
        raise refused(f"no such file: {name}", "check the path") from error
    return path


def _bring_all(
    bring: Mapping[_Item, Bring], into: Path, watch: Watch, parallel: int, tick: Tick
) -> dict[str, Path]:
    """Bring everything at once; whatever happens, all of it or nothing stays."""
    if not bring:
        tick(1, 1)
        return {}
    into.mkdir(parents=True, exist_ok=True)
    # our own names: nothing of a URL becomes a file's
    paths = {item.ref: into / f"fetched-{secrets.token_hex(8)}" for item in bring}
    counts = dict.fromkeys(paths, (0, 0))
    pool = ThreadPoolExecutor(parallel, "fetch")
    running: dict[Future[None], _Item] = {}
    try:
        for item, work in bring.items():
            seen = partial(_note, counts, item.ref)
            running[pool.submit(_brought, work, item, paths[item.ref], seen)] = item
        _follow(running, watch, counts, tick)
    except BaseException:
        watch.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([done for done in running if not done.cancelled()], LAST_S)
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    finally:
        pool.shutdown(wait=False)
    return paths


def _follow(
    running: Mapping["Future[None]", _Item],
    watch: Watch,
    counts: Mapping[str, tuple[int, int]],
    tick: Tick,
) -> None:
    """Wait for all of it, telling how far it is, or raise the first failure."""
    most = 0
    left = set(running)
    while True:
        ready, left = wait(left, SLICE_S, FIRST_EXCEPTION)
        for done in ready:
            done.result()
        total = sum(max(done, total) for done, total in counts.values())
        if not left:
            tick(max(total, 1), max(total, 1))
            return
        with _naming([name for done in left for name in running[done].fields]):
            watch.check()
        most = max(most, sum(done for done, _ in counts.values()))
        tick(most, max(total, most + 1))


def _note(counts: dict[str, tuple[int, int]], ref: str, done: int, total: int) -> None:
    counts[ref] = (done, total)


def _brought(work: Bring, item: _Item, path: Path, seen: Seen) -> None:
    """Write one file whole, or leave none."""
    try:
        with _naming(item.fields):
            work(path, seen)
            _not_empty(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _not_empty(path: Path) -> None:
    if path.stat().st_size == 0:
        raise refused("the file is empty", "check what is stored there")


@contextmanager
def _naming(fields: Sequence[str]) -> Iterator[None]:
    """Put the fields that hold a reference on what went wrong with it."""
    try:
        yield
    except TalkheadError as error:
        raise TalkheadError(
            error.code,
            f"{fields[0]}: {error.message}",
            error.hint,
            fields=fields,
            retryable=error.retryable,
        ) from error
