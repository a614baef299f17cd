"""The forms that a conversion gives an entry: safetensors of a pickle, or another number type.

A form is an entry of its own place: `ORG/NAME/STEM.safetensors` of a pickle, and in a folder named
after its type, `ORG/NAME/bf16/…`, whatever was asked for by type.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from talkhead.weights import File
from talkhead.weights.sound import PICKLES

DTYPES = ("bf16", "fp16", "fp32")  # in the order in which a search takes them
SAFE = ".safetensors"


def pickled(file: File) -> bool:
    """Return whether an entry's files are pickles, by their names."""
    return PurePosixPath(file.path).suffix in PICKLES


def convertible(file: File, dtype: str = "") -> bool:
    """Return whether an entry can be converted: a pickle, or with a type safetensors too."""
    if file.path.endswith("/"):
        return False
    suffix = PurePosixPath(file.path).suffix
    return pickled(file) or (bool(dtype) and (suffix == SAFE or "*" in suffix or not suffix))


def form(file: File, dtype: str = "") -> File:
    """Return an entry as a conversion leaves it, without the facts that are the original's."""
    path = PurePosixPath(file.path)
    if pickled(file):
        path = path.with_suffix(SAFE)
    place = str(PurePosixPath(dtype) / path) if dtype else str(path)
    return replace(file, path=place, bytes=None, sha256="", also=(), recognise=None)


def forms(file: File) -> Iterator[File]:
    """Yield the forms of an entry in the order in which they are taken."""
    for dtype in DTYPES:
        if convertible(file, dtype):
            yield form(file, dtype)
    if convertible(file):
        yield form(file)
