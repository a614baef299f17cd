"""What was checked once, so that later starts need neither the hub nor the hash of 30 GB."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from talkhead.weights import File

FOLDER = ".verified"
CHUNK = 2**22


@dataclass(frozen=True, slots=True)
class Seen:
    """One file as it was when its bytes were checked."""

    path: str  # below the weights folder
    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """The files of one entry of the manifest, and where they came from."""

    repo: str
    revision: str
    path: str
    commit: str
    files: tuple[Seen, ...]


def seen(root: Path, path: Path, sha256: str) -> Seen:
    """Return a file's state now."""
    facts = path.stat()
    return Seen(path.relative_to(root).as_posix(), facts.st_size, facts.st_mtime_ns, sha256)


def write(root: Path, file: File, commit: str, files: tuple[Seen, ...]) -> None:
    """Keep that these files were checked; whole or not at all."""
    record = Record(file.repo.name, file.repo.revision, file.path, commit, files)
    target = _where(root, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=1))
    partial.replace(target)


def read(root: Path, file: File) -> Record | None:
    """Return what was kept of this entry; None where nothing is, or of another revision."""
    try:
        table = json.loads(_where(root, file).read_text())
        entries = tuple(Seen(**entry) for entry in table.pop("files"))
        record = Record(**table, files=entries)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent or damaged: the files are checked again
    same = (record.repo, record.revision, record.path)
    return record if same == (file.repo.name, file.repo.revision, file.path) else None


def holds(root: Path, file: File) -> bool:
    """Return whether every checked file of this entry still has its size and time."""
    record = read(root, file)
    if record is None or not record.files:
        return False
    if file.sha256 and record.files[0].sha256 != file.sha256:
        return False
    return all(unchanged(root, entry) for entry in record.files)


def unchanged(root: Path, entry: Seen) -> bool:
    """Return whether a file still has the size and time that it was checked with."""
    try:
        facts = (root / entry.path).stat()
    except OSError:
        return False
    return (facts.st_size, facts.st_mtime_ns) == (entry.bytes, entry.mtime_ns)


def forget(root: Path, file: File) -> None:
    """Drop what was kept, so that the next pull checks the files again."""
    _where(root, file).unlink(missing_ok=True)


def sha256_of(path: Path, tick: Callable[[], None] | None = None) -> str:
    """Return a file's sha256; tick is called as it goes."""
    return _hashed(path, hashlib.sha256(), tick)


def git_of(path: Path, tick: Callable[[], None] | None = None) -> str:
    """Return git's own hash of a file."""
    begun = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    return _hashed(path, begun, tick)


def _hashed(path: Path, digest: "hashlib._Hash", tick: Callable[[], None] | None) -> str:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            if tick:
                tick()
    return digest.hexdigest()


def _where(root: Path, file: File) -> Path:
    return root / FOLDER / f"{file.id}.json"
