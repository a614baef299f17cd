"""Encoded prompts on disk, so that a worker can run without the encoder that made them.

One safetensors file for each text, named by what made it and the text, which itself is not kept.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from talkhead.errors import Code, TalkheadError

FORM = 1  # of cleaning, cutting and storing; another form makes other names
ROWS = "rows"

Encoder = Callable[[Sequence[str]], list[Tensor]]  # texts -> (tokens, dim) each


def key(identity: str, text: str) -> str:
    """Return the name under which a text is kept that the encoder called `identity` has encoded.

    `identity` tells encoders apart that give other numbers: say "umt5-xxl bf16".
    """
    return hashlib.sha256(json.dumps([FORM, identity, text]).encode()).hexdigest()


def cached(folder: Path, identity: str, text: str) -> Tensor | None:
    """Return (tokens, dim) in host memory as it was kept, None where the text never was.

    Raises E_PIPELINE_LOAD for a damaged file.
    """
    file = _file(folder, identity, text)
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as tensors:
            found: Tensor = tensors.get_tensor(ROWS).clone()
    except (SafetensorError, OSError) as error:
        raise TalkheadError(
            Code.WEIGHTS, f"{file} is damaged ({error})", "delete it: it is made again"
        ) from error
    return found


def keep(folder: Path, identity: str, text: str, rows: Tensor) -> Path:
    """Write (tokens, dim) so that `cached` finds it, whole or not at all; return the file."""
    file = _file(folder, identity, text)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(save({ROWS: rows.detach().cpu().contiguous()}))
        partial.chmod(0o644)  # readable for the worker, whoever filled the folder
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def prompts(
    folders: Sequence[Path], identity: str, texts: Sequence[str], encoder: Encoder | None
) -> list[Tensor]:
    """Return (tokens, dim) in host memory for each text, from a folder or from the encoder.

    The encoder is called once, with what the folders lack, which is then kept in the first; where
    nothing is lacking it is not called. Raises E_PIPELINE_LOAD where there is no encoder to ask.
    """
    found = {text: _first(folders, identity, text) for text in texts}
    rows_of = {text: rows for text, rows in found.items() if rows is not None}
    lacking = [text for text in found if text not in rows_of]
    if lacking and encoder is None:
        raise TalkheadError(
            Code.WEIGHTS,
            f"{len(lacking)} of {len(found)} prompts are not in {folders[0]}, and the text encoder "
            f"that would encode them ({identity}) is not here",
            "`talkhead weights pull umt5-bf16 wan-tokenizer` brings it; or copy that folder from a "
            "machine that has encoded these very texts",
        )
    if lacking and encoder is not None:
        for text, rows in zip(lacking, encoder(lacking), strict=True):
            keep(folders[0], identity, text, rows)
            rows_of[text] = rows.detach().cpu()
    return [rows_of[text] for text in texts]


def known(folders: Sequence[Path], identity: str, text: str) -> bool:
    """Return whether a text was encoded by the encoder of that name, and kept in a folder."""
    return any(_file(folder, identity, text).is_file() for folder in folders)


def _first(folders: Sequence[Path], identity: str, text: str) -> Tensor | None:
    """Return a text's rows from the first folder that has them."""
    found = (cached(folder, identity, text) for folder in folders)
    return next((rows for rows in found if rows is not None), None)


def _file(folder: Path, identity: str, text: str) -> Path:
    return folder / f"{key(identity, text)}.safetensors"
