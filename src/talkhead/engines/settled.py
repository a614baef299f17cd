"""A job's settings as an array that is kept with it, so that a resumed job goes on as it began."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from talkhead.engines import Arrays


def written(asked: Mapping[str, Any]) -> np.ndarray:
    """Return a job's settings as an array of text."""
    return np.asarray(json.dumps(asked), np.str_)


def read(prepared: Arrays) -> dict[str, Any]:
    """Return what `written` made one of, from what was prepared with it as "asked"."""
    asked: dict[str, Any] = json.loads(str(prepared["asked"]))
    return asked
