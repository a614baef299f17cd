"""Weights for those who load them: files by id, or what is wrong and the command that mends it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from talkhead.errors import Code, TalkheadError
from talkhead.settings import Settings
from talkhead.weights import TEXT, File, Manifest, chosen
from talkhead.weights.locate import ABSENT, Located, Places, find

END = 64 * 1024  # bytes of a file's beginning and of its end that tell it from others
PIECES, PIECE = 16, 4096  # and pieces in between: two trainings of one model differ everywhere

Paths = tuple[Path, ...]
Stamp = tuple[tuple[str, int, int, int], ...]  # path, size, time, inode

_found: dict[tuple[object, ...], tuple[Paths, Stamp]] = {}  # of this process, while files stay
_digests: dict[tuple[str, int, int, int], str] = {}


def places_of(settings: Settings, into: Path | None = None) -> Places:
    """Return where weights are looked for, by the settings; `into` in place of their folder."""
    return Places(
        into or settings.weights,
        settings.weights_also,
        (settings.hf_cache,),
        settings.weights_named,
    )


def finder(places: Places, known: Manifest) -> Callable[..., Paths]:
    """Return what gives the files of the first of some ids that is on this machine.

    What a conversion made, and the alternatives of the manifest, count as the id itself. Raises
    E_PIPELINE_LOAD naming the first id, what was wrong in the best place and the command to run.
    """

    def files(*names: str) -> Paths:
        looked = []
        for file in _ways(names, known):
            if paths := _kept(file, places):
                return paths
            located = find(file, places)
            if located.paths and not located.pickle:
                return _keep(located, places)
            looked.append(located)
        raise _refused(looked, places, known)

    return files


def lacking(
    names: Sequence[str], places: Places, known: Manifest, *, text_encoder: bool = True
) -> tuple[str, ...]:
    """Return the ids of these sets or files that cannot be loaded from this machine as it is.

    An id counts as there where one of its alternatives or a merged copy is. Without
    `text_encoder`, what encodes prompts is not counted, for those who have encoded ones. Reads no
    file whole.
    """
    files = finder(places, known)
    wanted = [file for _, file in chosen(names, known) if text_encoder or file.part != TEXT]
    return tuple(
        file.id
        for file in wanted
        if not any(_there(one.id, files) for one in (file, *known.merged(file.id)))
    )


def identity(paths: Sequence[Path]) -> str:
    """Return a fingerprint of files that changes where one is replaced. Reads 200 kB of each."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{_digest(path)}\0".encode())
    return digest.hexdigest()[:32]


def _there(name: str, files: Callable[..., Paths]) -> bool:
    try:
        return bool(files(name))
    except TalkheadError:
        return False


def _ways(names: Sequence[str], known: Manifest) -> Iterator[File]:
    """Yield the entries to look for, each once, the first of them that of the first name."""
    seen = set()
    for name in names:
        if name not in known.files:
            raise TalkheadError(
                Code.INTERNAL, f"no file of weights is called {name!r}", "talkhead weights list"
            )
        for file in known.ways(name):
            if file.id not in seen:
                seen.add(file.id)
                yield file


def _key(file: File, places: Places) -> tuple[object, ...]:
    named = tuple(sorted(places.named.items()))
    return places.root, places.also, places.caches, named, repr(file)


def _kept(file: File, places: Places) -> Paths:
    """Return what was found before, where those files are still as they were."""
    paths, stamp = _found.get(_key(file, places), ((), ()))
    return paths if paths and _stamp(paths) == stamp else ()


def _keep(located: Located, places: Places) -> Paths:
    if stamp := _stamp(located.paths):
        _found[_key(located.file, places)] = located.paths, stamp
    return located.paths


def _stamp(paths: Paths) -> Stamp:
    """Return what changes with the files; nothing where one is gone."""
    try:
        return tuple(_facts(path) for path in paths)
    except OSError:
        return ()


def _facts(path: Path) -> tuple[str, int, int, int]:
    facts = path.stat()
    return str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino


def _digest(path: Path) -> str:
    facts = _facts(path)
    if facts not in _digests:
        digest = hashlib.sha256(str(facts[1]).encode())
        with path.open("rb") as file:
            for start, length in _samples(facts[1]):
                file.seek(start)
                digest.update(file.read(length))
        _digests[facts] = digest.hexdigest()
    return _digests[facts]


def _samples(size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of what is read of a file: all of a small one."""
    if size <= 2 * END + PIECES * PIECE:
        yield 0, size
        return
    yield 0, END
    step = (size - 2 * END) // PIECES
    for index in range(PIECES):
        yield END + index * step, PIECE
    yield size - END, END


def _refused(looked: Sequence[Located], places: Places, known: Manifest) -> TalkheadError:
    """Return the error that says what was wrong in the best place, and what to do."""
    first = looked[0].file
    front = f"{first.id} ({PurePosixPath(first.path).name or first.path}):"
    for located in looked:
        if located.pickle:
            what = "" if located.file is first else f"{located.file.id}, which would do, "
            return TalkheadError(
                Code.WEIGHTS,
                f"{front} {what}is here as a pickle alone, {located.paths[0]}, and pickles are "
                "not loaded",
                f"`talkhead weights convert {located.file.id}` makes it safe to load",
            )
    wrong = [place for one in looked for place in one.looked if place.why != ABSENT]
    why = f"{wrong[0].path} {wrong[0].why}" if wrong else f"not found below {places.root}"
    hints = looked[0].hints
    if not wrong and hints:
        why = f"{hints[0].path} {hints[0].why}"
    elif not wrong and (others := len(looked[0].looked) - 1) > 0:
        why += f" or in {others} other places"
    return TalkheadError(Code.WEIGHTS, f"{front} {why}", _advice(first, places, known))


def _advice(file: File, places: Places, known: Manifest) -> str:
    if file.merges:
        return f"`talkhead weights convert {file.id}` makes it"
    if file.repo.local:
        return f"put it at {places.root / file.place}"
    sets = [one.name for one in known.sets.values() if file in one.files]
    whole = f", `talkhead weights pull {sets[0]}` all of its set" if sets else ""
    return (
        f"`talkhead weights pull {file.id}` brings it{whole}; TALKHEAD_WEIGHTS names the folder "
        f"where they lie; `talkhead weights locate {file.id}` says where it was looked for"
    )
