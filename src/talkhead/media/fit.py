"""Pictures and frames brought to a size, and where a face is afterwards."""

from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from talkhead.engines import Box, Face, Frames, Picture

Mode = Literal["crop", "pad", "face"]
Size = tuple[int, int]  # width, height

DEFAULT_LONG = 720
MIN_SIDE = 256
MAX_ASPECT = 4  # of a size given by its short side

# How much of a picture `fit: face` keeps around a face, in heights and widths of its box.
FACE_HEIGHTS = 2.4
FACE_WIDTHS = 1.8
HEADROOM = 0.48  # where the middle of the box lies, from the top: hair needs room
MARGIN = 0.25  # of the box's sides: what `fit: crop` tries to keep around a face


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A picture at its new size. A point p of the original lies at p * scale + (dx, dy)."""

    picture: Picture
    scale: float
    dx: float
    dy: float
    view: Box  # what part of the original is shown

    def again(self, picture: Picture) -> Picture:
        """Return another picture of the original's size, shown in the same way."""
        height, width = self.picture.shape[:2]
        return _render(picture, self.view, width, height)

    def box(self, box: Box) -> Box:
        """Return where a box of the original lies."""
        x0, y0, x1, y1 = (side * self.scale for side in box)
        return Box(x0 + self.dx, y0 + self.dy, x1 + self.dx, y1 + self.dy)

    def face(self, face: Face) -> Face:
        """Return where a face of the original lies."""
        landmarks = face.landmarks * np.float32(self.scale)
        landmarks[:, :2] += np.array([self.dx, self.dy], np.float32)
        return replace(face, box=self.box(face.box), landmarks=landmarks)


def fit(picture: Picture, width: int, height: int, mode: Mode, face: Box | None = None) -> Fitted:
    """Return a picture of exactly that size, never distorted.

    `crop` fills it and cuts what is left over, keeping `face` inside; `pad` shows all, black around
    it; `face` fills it with the face and some room around it, inside the picture.
    """
    rows, columns = picture.shape[:2]
    if mode == "pad":
        scale = min(width / columns, height / rows)
        view = _centred(columns / 2, rows / 2, width / scale, height / scale)
    else:
        scale = max(width / columns, height / rows)
        if mode == "face" and face is not None:
            close = min(width / FACE_WIDTHS / face.width, height / FACE_HEIGHTS / face.height)
            scale = max(scale, close)
        view = _view(columns, rows, (width / scale, height / scale), mode, face)
    shown = _render(picture, view, width, height)
    return Fitted(shown, scale, -view.x0 * scale, -view.y0 * scale, view)


def scaled_size(width: int, height: int, long: int | None = None, short: int | None = None) -> Size:
    """Return an even size of the same aspect whose long (or short) side is as given.

    No side is below 256: a very long picture gets a shorter aspect instead.
    """
    if short is not None:
        scale = short / min(width, height)
        cap = MAX_ASPECT * short
    else:
        scale = (long or DEFAULT_LONG) / max(width, height)
        cap = max(MIN_SIDE, long or DEFAULT_LONG)
    sides = (max(MIN_SIDE, min(cap, side * scale)) for side in (width, height))
    even_width, even_height = (2 * round(side / 2) for side in sides)
    return even_width, even_height


def work_size(width: int, height: int, multiple: int, min_side: int, max_pixels: int) -> Size:
    """Return the size nearest to the wanted one at which an engine can work.

    Both sides are multiples of `multiple` and at least `min_side`; width times height is at most
    `max_pixels`, unless `min_side` alone needs more.
    """
    limit = sqrt(max_pixels / (width * height))
    scale = min(max(1.0, min_side / min(width, height)), limit)
    least = -(-min_side // multiple) * multiple
    sides = [max(least, round(side * scale / multiple) * multiple) for side in (width, height)]
    while sides[0] * sides[1] > max_pixels and max(sides) > least:
        longer = sides.index(max(sides))
        sides[longer] -= multiple
    return sides[0], sides[1]


def resize_frames(frames: Frames, width: int, height: int) -> Frames:
    """Return frames at another size: scaled to fill it, the rest cut off evenly."""
    rows, columns = frames.shape[1:3]
    if (columns, rows) == (width, height):
        return frames
    scale = max(width / columns, height / rows)
    across, down = max(width, round(columns * scale)), max(height, round(rows * scale))
    x, y = (across - width) // 2, (down - height) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for target, frame in zip(out, frames, strict=True):
        target[:] = cv2.resize(frame, (across, down), interpolation=method)[
            y : y + height, x : x + width
        ]
    return out


def _view(columns: int, rows: int, size: tuple[float, float], mode: Mode, face: Box | None) -> Box:
    """Return which part of the picture is shown; it lies inside."""
    width, height = size
    x, y = (columns - width) / 2, (rows - height) / 2
    if face is not None and mode == "face":
        x, y = face.center[0] - width / 2, face.center[1] - HEADROOM * height
    elif face is not None:
        beside, below = MARGIN * face.width, MARGIN * face.height
        x = _slid(x, width, (face.x0, face.x1), (beside, beside))
        y = _slid(y, height, (face.y0, face.y1), (2 * below, below))  # hair above
    x = min(max(x, 0.0), columns - width)
    y = min(max(y, 0.0), rows - height)
    return Box(x, y, x + width, y + height)


def _slid(
    start: float, length: float, span: tuple[float, float], margins: tuple[float, float]
) -> float:
    """Move a view of `length` as little as needed to hold a span, and the margins that fit."""
    low, high = span
    room = length - (high - low)
    if room <= 0:
        return (low + high - length) / 2
    share = min(1.0, room / sum(margins))
    return min(max(start, high + share * margins[1] - length), low - share * margins[0])


def _centred(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _render(picture: Picture, view: Box, width: int, height: int) -> Picture:
    """Return what `view` shows at the size given, black where it leaves the picture."""
    rows, columns = picture.shape[:2]
    inside = Box(max(view.x0, 0), max(view.y0, 0), min(view.x1, columns), min(view.y1, rows))
    x0, y0, x1, y1 = _placed(inside, view, width, height)
    shown = _resized(picture, inside, x1 - x0, y1 - y0)
    if shown.shape[:2] == (height, width):
        return shown
    out = np.zeros((height, width, 3), np.uint8)
    out[y0:y1, x0:x1] = shown
    return out


def _placed(inside: Box, view: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the pixels of the output that the inside of the picture covers."""
    across, down = width / view.width, height / view.height
    x0, x1 = (round((x - view.x0) * across) for x in (inside.x0, inside.x1))
    y0, y1 = (round((y - view.y0) * down) for y in (inside.y0, inside.y1))
    return x0, y0, x1, y1


def _resized(picture: Picture, part: Box, width: int, height: int) -> Picture:
    """Return a part of a picture, to fractions of a pixel, at another size."""
    rows, columns = picture.shape[:2]
    # Lanczos reaches 3 pixels of the coarser side; only that much is copied
    reach = 4 * max(1.0, part.width / width)
    x0, y0 = max(0, int(part.x0 - reach)), max(0, int(part.y0 - reach))
    x1, y1 = min(columns, ceil(part.x1 + reach)), min(rows, ceil(part.y1 + reach))
    box = (part.x0 - x0, part.y0 - y0, min(part.x1, x1) - x0, min(part.y1, y1) - y0)
    cut = Image.fromarray(np.ascontiguousarray(picture[y0:y1, x0:x1]))
    return np.array(cut.resize((width, height), Image.Resampling.LANCZOS, box=box))
