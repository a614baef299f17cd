"""What is to be pulled: what is here, what is missing, how large it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from talkhead.errors import Code, TalkheadError
from talkhead.weights import File, Manifest, hub, locate, record
from talkhead.weights.stopping import Until
from talkhead.weights.transfer import size

Entries = Sequence[tuple[str, File]]  # (set, file)


@dataclass(frozen=True, slots=True)
class Item:
    """One file to bring."""

    set: str
    file: File
    remote: hub.Remote
    commit: str
    root: Path

    @property
    def target(self) -> Path:
        """Return where it goes."""
        return self.root / self.file.repo.name / self.remote.path

    @property
    def partial(self) -> Path:
        """Return where it grows; another version of the file has another name."""
        version = (self.remote.sha256 or self.remote.git or self.commit or "plain")[:12]
        return self.target.with_name(f".{self.target.name}.{version}.partial")

    @property
    def to_come(self) -> int:
        """Return the bytes that are still to come, as far as they are known."""
        if self.remote.bytes is None or size(self.target) == self.remote.bytes:
            return 0  # a whole file of the right length is only checked
        return max(0, self.remote.bytes - size(self.partial))


@dataclass(frozen=True, slots=True)
class Here:
    """An entry that is on this machine already."""

    set: str
    file: File
    paths: tuple[Path, ...]
    elsewhere: bool  # not where pulls go


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull does."""

    todo: tuple[Item, ...]
    here: tuple[Here, ...]

    @property
    def ids(self) -> list[str]:
        """Return the entries that are not complete."""
        return list({item.file.id: None for item in self.todo})

    @property
    def bytes(self) -> int:
        """Return the bytes that are still to come."""
        return sum(item.to_come for item in self.todo)


def check_licences(entries: Entries, commercial_only: bool) -> None:
    """Raise E_UNSUPPORTED where a licence forbids commercial use and nobody has allowed it."""
    if not commercial_only:
        return
    refused = {file.repo.name: file.repo for _, file in entries if file.repo.commercial is False}
    if refused:
        named = ", ".join(f"{repo.name} ({repo.terms})" for repo in refused.values())
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"not for commercial use: {named}",
            "where your use is allowed: --noncommercial, or TALKHEAD_NONCOMMERCIAL=true",
        )


def pending(
    entries: Entries, places: locate.Places, known: Manifest
) -> tuple[tuple[Here, ...], Entries]:
    """Return what is here and what is missing, without a network.

    For a set, an alternative that can be loaded counts as its file; what is named itself does not.
    """
    here, missing = [], []
    for name, file in entries:
        if record.holds(places.root, file):
            kept = record.read(places.root, file)
            paths = tuple(places.root / entry.path for entry in kept.files) if kept else ()
            here.append(Here(name, file, paths, elsewhere=False))
        elif paths := _elsewhere(file, places, known if name != file.id else None):
            here.append(Here(name, file, paths, elsewhere=True))
        else:
            missing.append((name, file))
    return tuple(here), missing


def _elsewhere(file: File, places: locate.Places, known: Manifest | None) -> tuple[Path, ...]:
    """Return where an entry lies, or with `known` an alternative that can be loaded."""
    if (paths := locate.find(file, places, own=file.repo.local).paths) or known is None:
        return paths
    for other in known.instead(file.id):
        located = locate.find(other, places)
        if located.paths and not located.pickle:
            return located.paths
    return ()


def make_plan(entries: Entries, places: locate.Places, until: Until, known: Manifest) -> Plan:
    """Return what is to be done, asking each repo that something is missing from once."""
    here, missing = pending(entries, places, known)
    listings: dict[str, hub.Listing] = {}
    todo: list[Item] = []
    for name, file in missing:
        repo = file.repo
        if repo.local:
            raise _not_offered(file, places)
        if not repo.url and repo.name not in listings:
            listings[repo.name] = hub.listing(repo, until)
        seen = hub.plain(file) if repo.url else listings[repo.name]
        todo += [Item(name, file, remote, seen.commit, places.root) for remote in _of(file, seen)]
    return Plan(tuple(todo), here)


def _of(file: File, known: hub.Listing) -> list[hub.Remote]:
    """Return the remote files of an entry, or raise E_PIPELINE_LOAD where it does not agree."""
    found = [
        remote for path, remote in sorted(known.files.items()) if fnmatchcase(path, file.pattern)
    ]
    unsafe = [remote.path for remote in found if not _safe(remote.path)]
    if not found or unsafe:
        why = f"offers the path {unsafe[0]!r}" if unsafe else f"has no {file.path}"
        raise TalkheadError(
            Code.WEIGHTS,
            f"{file.repo.name} at revision {file.repo.revision} {why}",
            f"look at {file.repo.page}; the repo may have changed since this version of talkhead",
        )
    for remote in found if file.single else ():
        for what, ours, theirs in (
            ("bytes", file.bytes, remote.bytes),
            ("sha256", file.sha256, remote.sha256),
        ):
            if ours and theirs and ours != theirs:
                raise TalkheadError(
                    Code.WEIGHTS,
                    f"{file.repo.name}/{remote.path}: the server says {what} {theirs}, and the "
                    f"manifest {ours}",
                    "check HF_ENDPOINT; the repo may have changed since this version of talkhead",
                )
    return found


def _safe(path: str) -> bool:
    """Return whether a path that a server names stays below the folder of its repo."""
    return not path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def _not_offered(file: File, places: locate.Places) -> TalkheadError:
    if file.merges:
        return TalkheadError(
            Code.WEIGHTS,
            f"{file.id} is made on this machine, and cannot be pulled",
            f"`talkhead weights pull {' '.join(file.merges)}` brings what it is made of, then "
            f"`talkhead weights convert {file.id}`",
        )
    return TalkheadError(
        Code.WEIGHTS,
        f"{file.id} is not on this machine, and no place to download it from is known",
        f"put it at {places.root / file.place} (licence: {file.repo.terms})",
    )
