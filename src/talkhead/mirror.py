"""A copy of an unfinished job in the store, so that it can go on where its disk is gone.

    <operator prefix>/.jobs/<id>/   the files of the job folder, under their own names
                       index.json   what they are, and the manifest; written after them

The mirror is a help: where the store cannot be reached the job goes on, and what was not copied is
copied with the next segment.
"""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from talkhead.errors import TalkheadError
from talkhead.stores import Shelf

INDEX, MANIFEST = "index.json", "manifest.jsonl"
# What is copied, and all that is ever brought back. The request stays here: it may hold secrets.
NAMES = re.compile(
    r"(segment|state|prepared|voice|vocals)(-\d{1,6})?\.(mp4|npz|wav|json)"
    r"|prepared\.[A-Za-z0-9_]{1,64}\.npy"
)
MAX_FILE = 4 * 2**30  # bytes


class Mirror:
    """The copy of one job."""

    def __init__(self, shelf: Shelf, job_id: str) -> None:
        self._store = shelf.store
        self._home = "/".join(part for part in (shelf.prefix.strip("/"), ".jobs", job_id) if part)
        self._copied: dict[str, tuple[int, int]] = {}  # name to size and time of the local file
        self._sums: dict[str, str] = {}  # name to sha256 of what the store holds

    def pull(self, path: Path) -> None:
        """Bring the copy into the job folder where it holds more segments than the folder does.

        Raises what the store raises where it cannot be reached, since going on without the copy
        would do its work again. A copy that cannot be read counts as none.
        """
        found = self._store.read(f"{self._home}/{INDEX}")
        if found is None:
            return
        index = _index(found)
        if index is None:
            return
        self._take_names(index)
        manifest = path / MANIFEST
        local = manifest.read_text() if manifest.exists() else ""
        if local and _segments(local) >= _segments(index["manifest"]):
            return
        for name, sha256 in self._sums.items():
            file = path / name
            if not file.is_file() or _sum(file) != sha256:
                # a file that does not come is found missing when the folder is opened
                self._store.get(f"{self._home}/{name}", file, MAX_FILE, lambda *_: None)
                if file.is_file() and _sum(file) != sha256:
                    file.unlink()
        partial = path / f".{MANIFEST}.partial"
        partial.write_text(index["manifest"])
        partial.replace(manifest)

    def push(self, path: Path) -> str | None:
        """Copy what is new in the job folder, and the index after it; return what went wrong."""
        files = {file.name: file for file in path.iterdir() if _counts(file)}
        try:
            for name, file in files.items():
                stamp = (file.stat().st_size, file.stat().st_mtime_ns)
                if self._copied.get(name) != stamp:
                    self._sums[name] = self._put(file, name)
                    self._copied[name] = stamp
            gone = self._sums.keys() - files.keys()
            self._sums = {name: self._sums[name] for name in files}
            self._put_index(path)
            for name in gone:
                self._store.delete(f"{self._home}/{name}")
        except TalkheadError as error:
            return error.message
        return None

    def remove(self) -> None:
        """Delete the copy, also one that this run has neither read nor made.

        A store that cannot be reached keeps it, for its own clean-up rules.
        """
        with suppress(TalkheadError):
            found = None if self._sums else self._store.read(f"{self._home}/{INDEX}")
            if found is not None:
                self._take_names(_index(found))
            for name in [*self._sums, INDEX]:  # the index last: it says what else there is
                self._store.delete(f"{self._home}/{name}")

    def _take_names(self, index: dict[str, Any] | None) -> None:
        names = index["files"] if index else {}
        self._sums = {name: sha256 for name, sha256 in names.items() if NAMES.fullmatch(name)}

    def _put(self, file: Path, name: str) -> str:
        sha256 = _sum(file)
        key = f"{self._home}/{name}"
        self._store.put(file, key, mime="application/octet-stream", sha256=sha256)
        return sha256

    def _put_index(self, path: Path) -> None:
        manifest = (path / MANIFEST).read_text()
        partial = path / f".{INDEX}"
        partial.write_text(json.dumps({"files": self._sums, "manifest": manifest}))
        self._put(partial, INDEX)


def _counts(file: Path) -> bool:
    return NAMES.fullmatch(file.name) is not None


def _index(text: bytes) -> dict[str, Any] | None:
    try:
        index = json.loads(text)
    except ValueError:
        return None
    sound = isinstance(index, dict) and isinstance(index.get("manifest"), str)
    return index if sound and isinstance(index.get("files"), dict) else None


def _segments(manifest: str) -> int:
    return sum('"segment"' in line for line in manifest.splitlines())


def _sum(file: Path) -> str:
    with file.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
