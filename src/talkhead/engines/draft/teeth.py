"""The inside of the mouth: teeth, tongue and the dark behind them.

Teeth are drawn, or cut from the picture where it shows them. Each layer is painted once, with its
transparency, and looked up in every frame. Lengths are shares of the mouth's width.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from talkhead.engines import Face, Picture
from talkhead.engines.draft.geometry import Floats, colours, sample, smoothstep, transform
from talkhead.engines.draft.mouth import Lips, Opening, at_middle
from talkhead.engines.draft.pose import Mouth

FINEST, COARSEST = 160.0, 40.0  # pixels of a layer per mouth width
FINER = 4  # layers are drawn this many times larger, then averaged

# Millimetres as seen from the front, from the middle outwards: the arch narrows those at the side.
UPPER_EDGES, UPPER_HEIGHTS = (
    (0.0, 8.4, 14.6, 20.6, 25.2, 28.6, 31.0),
    (10.2, 9.5, 10.0, 8.8, 8.0, 7.2),
)
LOWER_EDGES, LOWER_HEIGHTS = (
    (0.0, 5.2, 10.6, 16.4, 21.2, 24.8, 27.0),
    (7.6, 7.8, 8.6, 7.6, 7.0, 6.4),
)

ENAMEL = np.array([226, 217, 202], np.float32)
GUM = np.array([168, 88, 86], np.float32)
DARK = np.array([36, 15, 17], np.float32)
TONGUE = np.array([172, 84, 88], np.float32)

OWN = 0.09  # open smiles above show enough teeth to use them

SKIN_SPOTS = (205, 425, 50, 280, 164, 18)  # landmarks on cheeks, above and below the lips
LIP_SPOTS = (0, 17)
WHITES = (33, 133, 159, 145, 362, 263, 386, 374)  # landmarks around both eyes


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A painted layer, premultiplied by its transparency, and where it lies."""

    paint: Floats  # (h, w, 4), red, green, blue 0..255 times alpha, and alpha 0..1
    density: float  # pixels per mouth width
    left: float  # the local coordinates of its first edges
    top: float

    def at(self, x: Floats, y: Floats) -> Floats:
        """Look the layer up at local coordinates (h, w)."""
        spots = np.dstack(
            [(x - self.left) * self.density - 0.5, (y - self.top) * self.density - 0.5]
        )
        return sample(self.paint, spots.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """The inside of one mouth, lit like its face."""

    upper: Layer  # stands still with the skull: u and v
    lower: Layer  # goes with the jaw: u, and v from the lower lip's edge
    tongue: Layer
    light: Floats  # (3,), on enamel and flesh
    own: bool  # the upper teeth are the picture's


def make_inside(picture: Picture, face: Face, lips: Lips, seed: int) -> Inside:
    """Paint the inside of a mouth."""
    rng = np.random.default_rng(seed)
    light = _light(picture, face)
    density = float(np.clip(lips.patch.axes.unit, COARSEST, FINEST))
    own = _shows_teeth(picture, lips)
    upper = _own_teeth(picture, lips, density) if own else _upper_teeth(lips, density, light, rng)
    return Inside(
        upper, _lower_teeth(lips, density, light, rng), _tongue(density, light), light, own
    )


def fill(
    inside: Inside, lips: Lips, opening: Opening, mouth: Mouth, at: Floats
) -> tuple[Floats, Floats]:
    """Return the colour (h, w, 3) and cover (h, w, 1) of the inside at pixels `at` (h, w, 2)."""
    unit = np.float32(lips.patch.axes.unit)
    spots = transform(at, lips.patch.axes.to_local)
    u, v = spots[..., 0], spots[..., 1]
    # Beyond the patch its outermost columns hold: there the lips are shut.
    column = np.clip((u - lips.patch.u[0]) * lips.patch.density, 0, lips.patch.u.size - 1)
    curves = np.dstack([opening.top, opening.bottom, opening.open]).astype(np.float32)
    edges = sample(curves, np.dstack([column, np.zeros_like(column)]))
    below_top, above_bottom = v - edges[..., 0], edges[..., 1] - v
    height = edges[..., 1] - edges[..., 0]
    cover = np.clip(below_top * unit / 1.3 + 0.35, 0, 1) * np.clip(
        above_bottom * unit / 1.3 + 0.35, 0, 1
    )
    cover *= np.clip(height * unit / 1.5, 0, 1) * edges[..., 2]
    x = u - np.float32(lips.middle)
    colour = _flesh(inside, mouth, x, above_bottom)
    colour = _over(
        inside.lower.at(x, above_bottom), colour, 0.8 * smoothstep((mouth.aperture - 0.05) / 0.09)
    )
    colour = _over(inside.upper.at(x, v + np.float32(_hidden(inside, mouth, opening))), colour, 1.0)
    shade = _shade(mouth, opening, x, below_top) * (0.6 + 0.4 * smoothstep(height / 0.12))
    return colour * shade[..., None], cover[..., None]


def _flesh(inside: Inside, mouth: Mouth, x: Floats, above_bottom: Floats) -> Floats:
    """Return the dark of the mouth with the tongue in it."""
    dark = np.broadcast_to(DARK * inside.light, (*x.shape, 3))
    lift = 0.16 * float(np.clip(mouth.aperture - 0.08, 0, 0.25)) + 0.07 * mouth.tongue
    return _over(inside.tongue.at(x, above_bottom - np.float32(lift)), dark, 0.95)


def _hidden(inside: Inside, mouth: Mouth, opening: Opening) -> float:
    """Return how far the upper teeth are drawn up behind the lip."""
    if inside.own:
        return 0.12 * opening.rounded
    shown = 0.015 + 0.10 * mouth.aperture + 0.035 * max(mouth.spread, 0.0) + 0.02 * mouth.bite
    return 0.10 - shown * (1 - 0.7 * opening.rounded) + 0.03 * opening.rounded


def _shade(mouth: Mouth, opening: Opening, x: Floats, below_top: Floats) -> Floats:
    """Return the light that lips let in: less under the upper lip, at the corners, rounded."""
    under = 0.55 + 0.45 * smoothstep(below_top / np.float32(0.02 + 0.08 * min(mouth.aperture, 0.3)))
    half = 0.5 * opening.narrow
    side = 0.35 + 0.65 * np.clip(1 - (x / half) ** 2, 0, 1)
    return np.asarray(under * side * (1 - 0.55 * opening.rounded), np.float32)


def _over(layer: Floats, colour: Floats, strength: float | Floats) -> Floats:
    amount = np.float32(strength)
    return np.asarray(layer[..., :3] * amount + colour * (1 - layer[..., 3:] * amount), np.float32)


def _shows_teeth(picture: Picture, lips: Lips) -> bool:
    """Tell whether the picture's mouth is open on teeth: on what is not darker than the lips."""
    if at_middle(lips, lips.lower_inner) - at_middle(lips, lips.upper_inner) < OWN:
        return False
    columns = np.flatnonzero(np.abs(lips.across) < 0.5)
    edges = (lips.upper_outer, lips.upper_inner, lips.lower_inner, lips.lower_outer)
    upper_lip, inside, lower_lip = (0.5 * (a + b)[columns] for a, b in pairwise(edges))
    spots = [np.stack([lips.patch.u[columns], row], -1) for row in (upper_lip, inside, lower_lip)]
    at = transform(np.stack(spots).astype(np.float32), lips.patch.axes.to_pixels)
    bright = np.median(colours(picture, at).mean(axis=2), axis=1)
    return bool(bright[1] > 0.5 * (bright[0] + bright[2]))


def _light(picture: Picture, face: Face) -> Floats:
    """Return the light on the face, about (1, 1, 1) in a well-lit photograph.

    Skin tells its colour; the whites of the eyes tell its strength, whatever the skin.
    """
    spots = face.landmarks[:, :2]
    skin = np.median([_around(picture, *spots[number]) for number in SKIN_SPOTS], axis=0)
    tint = np.clip(skin / max(float(skin.mean()), 1.0), 0.6, 1.4)
    eyes = spots[list(WHITES)]
    (x0, y0), (x1, y1) = eyes.min(axis=0).astype(int), eyes.max(axis=0).astype(int) + 1
    region = picture[max(y0, 0) : y1, max(x0, 0) : x1].mean(axis=2)
    white = float(np.percentile(region, 97)) if region.size else 128.0
    lips = np.mean([_around(picture, *spots[number]) for number in LIP_SPOTS])
    shaded = float(np.clip(lips / max(0.6 * float(skin.mean()), 1.0), 0.5, 1)) ** 0.5
    strength = shaded * np.clip(max(float(skin.mean()) / 165, 0.8 * white / 215), 0.3, 1.15)
    return np.asarray(strength * (0.6 + 0.4 * tint), np.float32)


def _around(picture: Picture, x: float, y: float) -> Floats:
    height, width = picture.shape[:2]
    column, row = int(np.clip(x, 3, width - 4)), int(np.clip(y, 3, height - 4))
    part = picture[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3)
    return np.asarray(np.median(part, axis=0), np.float32)


def _raster(
    low: tuple[float, float], high: tuple[float, float], density: float
) -> tuple[Floats, Floats]:
    """Return (x (1, w), y (h, 1)) of a layer that is drawn FINER times larger."""
    columns, rows = (
        int(np.ceil((b - a) * density)) * FINER for a, b in zip(low, high, strict=True)
    )
    step = 1 / (density * FINER)
    x = low[0] + (np.arange(columns, dtype=np.float32) + 0.5) * step
    y = low[1] + (np.arange(rows, dtype=np.float32) + 0.5) * step
    return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


def _layer(colour: Floats, alpha: Floats, low: tuple[float, float], density: float) -> Layer:
    """Average a layer down to its density and premultiply it."""
    height, width = alpha.shape
    paint = np.dstack([colour * alpha[..., None], alpha]).astype(np.float32)
    small = cv2.resize(paint, (width // FINER, height // FINER), interpolation=cv2.INTER_AREA)
    return Layer(np.asarray(small, np.float32), density, *low)


def _row(
    x: Floats, down: Floats, edges: Floats, heights: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return brightness and cover (h, w) of a row of teeth whose necks lie at down = 0."""
    side = np.abs(x) * np.float32(1)
    number = np.clip(np.searchsorted(edges, side, side="right") - 1, 0, len(heights) - 1)
    tooth = np.where(x < 0, number, number + len(heights))
    tall = np.tile(heights, 2) * (1 + 0.03 * rng.standard_normal(2 * len(heights)))
    bright = 1 + 0.025 * rng.standard_normal(2 * len(heights))
    start, end = edges[number], edges[number + 1]
    place = ((side - start) / (end - start) * 2 - 1).astype(np.float32)  # -1..1 across each tooth
    length = tall[tooth].astype(np.float32) * (1 - 0.10 * np.abs(place) ** 5)
    share = down / length
    gap = smoothstep((np.abs(place) - 0.86) / 0.14) * (
        0.35 + 0.65 * smoothstep((share - 0.75) / 0.25)
    )
    round_off = 1 - 0.16 * np.abs(place) ** 2
    neck_to_edge = 0.86 + 0.14 * smoothstep(share / 0.5) - 0.07 * smoothstep((share - 0.85) / 0.15)
    arch = 1 - 0.62 * np.clip(side / edges[-1], 0, 1) ** 1.7
    brightness = bright[tooth] * round_off * neck_to_edge * arch * (1 - 0.45 * gap)
    cover = ((down < length) & (side < edges[-1])).astype(np.float32)
    return brightness.astype(np.float32), cover


def _upper_teeth(lips: Lips, density: float, light: Floats, rng: np.random.Generator) -> Layer:
    """Draw the upper teeth, pinned to the skull: their edges a little below the resting lip."""
    mm = lips.millimetre
    edges = np.array(UPPER_EDGES, np.float32) * mm
    heights = np.array(UPPER_HEIGHTS, np.float32) * mm
    base = at_middle(lips, lips.seam)
    low, high = (-float(edges[-1]), base - 0.30), (float(edges[-1]), base + 0.20)
    x, y = _raster(low, high, density)
    # The edges of the teeth follow the lips: up towards the corners of a smile.
    curve = np.interp(x + lips.middle, lips.patch.u, lips.seam).astype(np.float32) - base
    neck = base + 0.5 * curve + 0.10 - np.float32(heights[0])
    down = y - neck
    brightness, cover = _row(x, down, edges, heights, rng)
    gum = smoothstep(-down / (0.6 * mm))[..., None]
    colour = (ENAMEL * brightness[..., None] * (1 - gum) + GUM * gum) * light
    return _layer(colour.astype(np.float32), cover, low, density)


def _lower_teeth(lips: Lips, density: float, light: Floats, rng: np.random.Generator) -> Layer:
    """Draw the lower teeth, just behind the lower lip; y is the height above the lip's edge."""
    mm = lips.millimetre
    edges = np.array(LOWER_EDGES, np.float32) * mm
    heights = np.array(LOWER_HEIGHTS, np.float32) * mm
    low, high = (-float(edges[-1]), -0.10), (float(edges[-1]), 0.12)
    x, y = _raster(low, high, density)
    top = 0.03 - 0.05 * (x / 0.4) ** 2
    down = y - (top - np.float32(heights[0]))
    brightness, cover = _row(x, down, edges, heights, rng)
    cover *= smoothstep((0.40 - np.abs(x)) / 0.10)
    colour = 0.55 * ENAMEL * brightness[..., None] * light
    return _layer(colour.astype(np.float32), cover, low, density)


def _tongue(density: float, light: Floats) -> Layer:
    """Draw the tongue: a soft mound with a groove; y is the height above the lower lip's edge."""
    low, high = (-0.42, -0.20), (0.42, 0.22)
    x, y = _raster(low, high, density)
    crest = 0.05 - 0.30 * x**2
    alpha = smoothstep((crest - y) / 0.09 + 0.5) * smoothstep((0.36 - np.abs(x)) / 0.14)
    groove = 1 - 0.16 * np.exp(-((x / 0.018) ** 2)) * smoothstep((crest - y) / 0.05)
    rounding = 0.62 + 0.38 * smoothstep((crest - y) / 0.10)
    colour = TONGUE * (groove * rounding * (1 - 1.2 * x**2))[..., None] * light
    return _layer(colour.astype(np.float32), alpha.astype(np.float32), low, density)


def _own_teeth(picture: Picture, lips: Lips, density: float) -> Layer:
    """Cut the teeth out of an open smile; above them their colour goes on, into the gums."""
    half = 0.62
    base = at_middle(lips, lips.seam)
    low = (-half, base - 0.40)
    columns, rows = int(2 * half * density), int(0.8 * density)
    x = low[0] + (np.arange(columns, dtype=np.float32) + 0.5) / density
    y = low[1] + (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / density
    u = x + lips.middle
    margin = 0.016
    top = np.interp(u, lips.patch.u, lips.upper_inner + margin).astype(np.float32)
    bottom = np.interp(u, lips.patch.u, lips.lower_inner - margin).astype(np.float32)
    inner = np.maximum(y, top + 1.5 / np.float32(lips.patch.axes.unit))
    spots = np.dstack([np.broadcast_to(u, inner.shape), inner]).astype(np.float32)
    at = transform(spots, lips.patch.axes.to_pixels)
    paint = colours(picture, at).astype(np.float32)
    fade = 2.0 / density
    alpha = smoothstep((bottom - y) / fade) * smoothstep((bottom - top) / 0.03)
    alpha = alpha * smoothstep((1.0 - np.abs(np.interp(u, lips.patch.u, lips.across))) / 0.08)
    colour = paint * (0.55 + 0.45 * smoothstep((y - top) / 0.03 + 1))[..., None]
    return Layer(np.dstack([colour * alpha[..., None], alpha]).astype(np.float32), density, *low)
