"""Arrays in files: small ones together as NAME.npz, each large one beside it, memory-mapped.

    NAME.npz          the small ones, and what the large ones' files hold
    NAME.OBJECT.npy   a large one; read-only once it is loaded

Each is written under a hidden name, fsynced and renamed, the npz last: only what it names counts.
"""

import errno
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

LARGE = 4 * 2**20  # bytes from which on an array gets a file of its own
BLOCK = 4 * 2**20  # bytes read or written at once
OBJECT = re.compile(r"[A-Za-z0-9_]{1,64}")  # what an array may be called
ASIDE = "large.files"  # no array's name: it has a dot
UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile)


def save(folder: Path, name: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays to a folder under a name; no large one is copied in memory."""
    found = {key: np.asanyarray(value) for key, value in arrays.items()}
    for key in found:
        if not OBJECT.fullmatch(key):
            raise ValueError(f"{key!r} is no name of an array: letters, digits and _, 64 at most")
    large = {key: array for key, array in found.items() if array.nbytes >= LARGE}
    sums = [[key, str(_save_large(folder, name, key, large[key]))] for key in large]
    small = {key: np.asarray(array) for key, array in found.items() if key not in large}
    if sums:
        small[ASIDE] = np.asarray(sums, np.str_)
    save_npz(folder / f"{name}.npz", small)
    for file in folder.glob(f"{name}.*.npy"):
        if file.name.split(".")[1] not in large:
            file.unlink()


def load(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return what `save` wrote. Raises one of UNREADABLE where any of it is missing or damaged."""
    found = load_npz(folder / f"{name}.npz")
    for key, total in found.pop(ASIDE, ()):
        file = folder / f"{name}.{key}.npy"
        if _sum(file) != int(total):
            raise ValueError(f"{file.name} is damaged")
        found[str(key)] = np.load(file, mmap_mode="r", allow_pickle=False)
    return found


def save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as one file, whole or not at all."""
    partial = path.with_name(f".{path.stem}.partial.npz")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **{k: np.asarray(v) for k, v in arrays.items()})
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of one file, in memory."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def room(file: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a float32 array of zeros in a new file, to be written to; raises on a full disk."""
    with file.open("wb") as target:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        left = 4 * math.prod(shape)
        # Zeros now: a full disk raises here, where writing to a mapped file would kill the process
        while left > 0:
            left -= target.write(bytes(min(left, BLOCK)))
    array: NDArray[np.float32] = np.load(file, mmap_mode="r+", allow_pickle=False)
    return array


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network volumes cannot sync a directory
            raise
    finally:
        os.close(handle)


def _save_large(folder: Path, name: str, key: str, array: NDArray[Any]) -> int:
    """Write one array; return the checksum of its file."""
    target = folder / f"{name}.{key}.npy"
    partial = folder / f".{name}.{key}.partial.npy"
    with partial.open("wb") as file:
        summed = _Summed(file)
        np.lib.format.write_array(summed, array, allow_pickle=False)  # in blocks of 16 MB
    sync(partial)
    partial.replace(target)
    return summed.total


def _sum(file: Path) -> int:
    total = 0
    with file.open("rb") as source:
        while block := source.read(BLOCK):
            total = crc32(block, total)
    return total


class _Summed:
    """A file that is written to, and the checksum of what was written.

    NumPy writes arrays in blocks to whatever is no plain file, maps of other files too.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.total = 0
        self._file = file

    def write(self, data: bytes) -> int:
        self.total = crc32(data, self.total)
        return self._file.write(data)
