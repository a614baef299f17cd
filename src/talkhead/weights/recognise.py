"""Files of other names, known by the tensors in them: ComfyUI repacks on people's disks.

Only headers are read, of files large enough to be models, and each once while it stays as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from talkhead.weights import File, Marks, sound

FOLDERS = ("text_encoders", "clip", "clip_vision", "vae", "unet", "diffusion_models")
PREFIXES = ("model.diffusion_model.", "diffusion_model.")  # before names, in some repacks
PLAIN = {"Q4_0": 2, "Q5_0": 8, "Q8_0": 7, "Q6_K": 18}  # file types of one quantisation alone
NO_GGUF = "could be it, and cannot be told without the package gguf: pip install gguf"


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its tensors, names without the prefixes of repacks."""

    tensors: Mapping[str, tuple[tuple[int, ...], str]]  # shape and type; no type in GGUF files
    file_type: int | None = None  # GGUF's number of the quantisation


def candidates(file: File, folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield files in these folders that hold what an entry has to hold.

    With the path comes why it is not taken all the same: its name does not tell which it is.
    """
    if (marks := file.recognise) is None:
        return
    suffix = ".gguf" if marks.file_type is not None else ".safetensors"
    for path in _files(folders, suffix, marks.smallest):
        if suffix == ".gguf" and find_spec("gguf") is None:
            yield path, NO_GGUF
        elif (header := described(path)) is not None and _fits(marks, header):
            told = not marks.named or re.search(marks.named, path.name)
            why = f"holds the tensors of it, but its name does not say {marks.named}"
            yield path, "" if told else why


def described(path: Path) -> Header | None:
    """Return what a safetensors or GGUF file says of its tensors, None where it says nothing."""
    try:
        facts = path.stat()
        return _described(path, facts.st_size, facts.st_mtime_ns)
    except OSError:
        return None  # gone since it was listed, or not ours to read


def _files(folders: Iterable[Path], suffix: str, smallest: int) -> Iterator[Path]:
    """Yield the files of a kind in these folders and one folder deeper; the roots come first."""
    seen = set()
    for folder in folders:
        deeper = sorted(folder.glob(f"*/*{suffix}")) if folder.name in FOLDERS else []
        for path in (*sorted(folder.glob(f"*{suffix}")), *deeper):
            if path not in seen and path.is_file() and path.stat().st_size >= smallest:
                seen.add(path)
                yield path


@lru_cache(maxsize=512)
def _described(path: Path, size: int, mtime_ns: int) -> Header | None:
    """Return a file's header; size and time make a changed file be read again."""
    del size, mtime_ns
    try:
        return _gguf(path) if path.suffix == ".gguf" else _safetensors(path)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return None  # damaged, or no such file at all


def _safetensors(path: Path) -> Header:
    return Header(
        {
            _bare(name): (tuple(facts["shape"]), str(facts["dtype"]))
            for name, facts in sound.header(path).items()
        }
    )


def _gguf(path: Path) -> Header:
    from gguf import GGUFReader  # noqa: PLC0415 (optional)

    reader = GGUFReader(path)  # maps the file, and reads its header
    tensors = {
        _bare(tensor.name): (tuple(int(side) for side in reversed(tensor.shape)), "")
        for tensor in reader.tensors
    }
    if (said := reader.fields.get("general.file_type")) is not None:
        return Header(tensors, int(said.contents()))
    held: Counter[str] = Counter()
    for tensor in reader.tensors:
        held[tensor.tensor_type.name] += int(tensor.n_elements)
    most = held.most_common(1)
    return Header(tensors, PLAIN.get(most[0][0]) if most else None)


def _bare(name: str) -> str:
    """Return a tensor's name without a repack's prefix."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _fits(marks: Marks, header: Header) -> bool:
    if marks.file_type != header.file_type:
        return False
    found = {name: header.tensors[name][0] for name in marks.tensors if name in header.tensors}
    if found != dict(marks.tensors):
        return False
    if any(name.startswith(marks.without) for name in header.tensors if marks.without):
        return False
    of = marks.dtype_of or next(iter(marks.tensors), "")
    return not marks.dtype or header.tensors.get(of, ((), ""))[1] == marks.dtype
