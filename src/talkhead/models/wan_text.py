"""Prompts to rows of numbers, with whichever encoder is here, or none where they are kept."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from talkhead.errors import TalkheadError
from talkhead.models import embeddings, text
from talkhead.models.placement import Placement
from talkhead.models.wan_files import (
    ENCODER,
    SMALL_ENCODER,
    SMALL_TEXT,
    TEXT,
    TOKENIZER,
    Files,
    here,
)


def encode_texts(
    files: Files, folders: Sequence[Path], texts: Sequence[str], placement: Placement
) -> list[Tensor]:
    """Return f32 (tokens, dim) of each text; those in one of the folders need no encoder.

    Those that a quantised encoder makes are kept under another name, and used only in its place.
    """
    ids, identity = TEXT, f"{ENCODER} {placement.dtype}"
    if not here(files, TEXT) and here(files, SMALL_TEXT):
        known = all(embeddings.known(folders, identity, one) for one in texts)
        ids = SMALL_TEXT
        identity = identity if known else f"{SMALL_ENCODER} {placement.dtype}"

    def encoder(lacking: Sequence[str]) -> list[Tensor]:
        try:
            found = files(*ids)
        except TalkheadError as error:
            raise TalkheadError(
                error.code,
                f"{len(lacking)} of the prompts were never encoded, and the text encoder is not "
                f"here: {error.message}",
                f"{error.hint}; or encode them where it is: `talkhead weights prompts`",
            ) from error
        model = text.load_encoder(found, placement.device, placement.dtype)
        (folder,) = {file.parent for file in files(*TOKENIZER) if file.name == "tokenizer.json"}
        return text.encode(model, text.load_tokenizer(folder), lacking)

    return [rows.float() for rows in embeddings.prompts(folders, identity, texts, encoder)]
