"""The portraits that tests draw on, and the faces in them."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

import talkhead
from talkhead.engines import Box, Face, Picture
from talkhead.media.face import FaceFinder

ASTRONAUT = "astronaut"
FOLDER = Path(__file__).parent / "media" / "portraits"
PORTRAITS = tuple(sorted(path.stem for path in FOLDER.glob("*.png")))


def load(name: str) -> Picture:
    """Return a portrait, (height, width, 3)."""
    assets = Path(talkhead.__file__).parent / "assets"
    folder = assets if name == ASTRONAUT else FOLDER
    return np.array(Image.open(folder / f"{name}.png").convert("RGB"))


@cache
def finder() -> FaceFinder:
    """Return the face finder of this process."""
    return FaceFinder()


@cache
def _faces(name: str) -> tuple[Face, ...]:
    return tuple(finder().find(load(name)))


def faces_of(name: str, scale: float = 1, shift: float = 0, down: float = 0) -> tuple[Face, ...]:
    """Return the faces of a portrait that was scaled, then moved right and down by pixels."""
    return tuple(
        Face(
            Box(
                *(
                    value * scale + more
                    for value, more in zip(face.box, (shift, down) * 2, strict=True)
                )
            ),
            (face.landmarks * np.float32(scale) + np.float32([shift, down, 0])).astype(np.float32),
            face.presence,
        )
        for face in _faces(name)
    )
