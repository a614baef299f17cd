"""What the weights of a job weigh, and how they fit on this machine."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from talkhead.engines import Fitting, Supplies
from talkhead.engines.infinitetalk import checkpoint
from talkhead.engines.infinitetalk.choice import FULL, Choice, located, transformer
from talkhead.models import weighing
from talkhead.models.estimates import Load
from talkhead.models.fitting import Weighed
from talkhead.models.placement import place
from talkhead.models.stored import Stored


def weigh(
    supplies: Supplies, choice: Choice, load: Load, asked: Fitting, tiles: bool | None
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_PIPELINE_LOAD where files are missing, E_CAPACITY where it does not fit.
    """
    files, there = located(supplies.files, choice), place(supplies)
    stored = checkpoint.stored(supplies.files, choice, there.device)
    weighed = weighing.weigh(stored, supplies.files, there, load, asked.offload, tiles)
    notes = *_notes(transformer(supplies.files, choice).id, choice, stored), *weighed.notes
    return replace(weighed, identity=supplies.identity(files), notes=notes)


def _notes(base: str, choice: Choice, stored: Stored[Any]) -> Iterator[str]:
    """Yield what the caller should know of the weights that were found."""
    found, keep = stored.found, stored.keep
    kinds = {entry.kind for name, entry in found.items() if keep.takes(name, entry.shape)}
    if choice.quant is None and choice.base is None and base != FULL:
        yield f"{FULL} is not here: {base} takes its place, quantised, less exact"
    if keep.kind is not None and (others := kinds - {keep.kind, None}):
        were = " and ".join(sorted(kind for kind in others if kind))
        yield f"{base}: {were} weights are quantised anew as {keep.kind}, which costs exactness"
    if keep.kind is None and any(found[name].kind == "gguf" for name in stored.merge.changes):
        yield (
            f"{base}: what the LoRA changes is kept as int8 with a scale for each row, since "
            "GGUF's blocks cannot be made again"
        )
