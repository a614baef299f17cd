"""What the weights of a job weigh, and how they fit on this machine."""

from dataclasses import replace

from talkhead.engines import Fitting, Supplies
from talkhead.engines.omniavatar import checkpoint
from talkhead.engines.omniavatar.choice import AUTO, MODELS, Choice, located, transformer
from talkhead.models import weighing
from talkhead.models.estimates import Load
from talkhead.models.fitting import Weighed
from talkhead.models.placement import place


def weigh(
    supplies: Supplies, choice: Choice, load: Load, asked: Fitting, tiles: bool | None
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_PIPELINE_LOAD where files are missing, E_CAPACITY where it does not fit.
    """
    files, there = located(supplies.files, choice), place(supplies)
    stored = checkpoint.stored(supplies.files, choice, there.device)
    weighed = weighing.weigh(stored, supplies.files, there, load, asked.offload, tiles)
    notes, found = weighed.notes, transformer(supplies.files, choice).model
    if choice.model == AUTO and found != next(iter(MODELS)):
        notes += (f"the {found} model is here alone, and takes the place of the larger one",)
    return replace(weighed, identity=supplies.identity(files), notes=notes)
