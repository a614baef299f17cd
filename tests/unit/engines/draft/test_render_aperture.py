"""The landmark net must see in the frames what the poses ask for."""

import numpy as np
import pytest

from portraits import ASTRONAUT, faces_of, finder, load
from talkhead.engines import Face
from talkhead.engines.draft.pose import Mouth, Pose
from talkhead.engines.draft.render import Renderer

APERTURES = (0.0, 0.05, 0.1, 0.2, 0.3)
PHOTOS = (
    ASTRONAUT,
    "closeup_redhair_closed",
    "man_beard_dark",
    "woman_frontal_closed",
    "woman_threequarter_closed",
)


def gap(face: Face) -> float:
    """Return the inner lips' distance over that of the eyes, as the sync score measures it."""
    points = face.landmarks[:, :2]
    eyes = np.linalg.norm(points[[33, 133]].mean(axis=0) - points[[362, 263]].mean(axis=0))
    pairs = ((13, 14), (82, 87), (312, 317))
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]) / eyes)


def measure(renderer: Renderer, face: Face, mouth: Mouth) -> float:
    seen = finder().track(renderer.frame([Pose(mouth)]), face)
    assert seen is not None
    return gap(seen)


@pytest.mark.parametrize("name", [*PHOTOS, "drawing_robot"])
def test_the_measured_gap_follows_the_aperture(name: str) -> None:
    face = faces_of(name)[0]
    renderer = Renderer(load(name), [face], 0)
    gaps = [measure(renderer, face, Mouth(aperture)) for aperture in APERTURES]
    assert gaps == sorted(gaps), gaps
    assert np.corrcoef(APERTURES, gaps)[0, 1] > 0.96, gaps
    assert gaps[0] < 0.045
    assert gaps[1] > 1.5 * gaps[0] + 0.005, gaps
    assert gaps[-1] > 0.12


@pytest.mark.parametrize("name", PHOTOS)
def test_pressed_lips_measure_as_closed(name: str) -> None:
    face = faces_of(name)[0]
    renderer = Renderer(load(name), [face], 0)
    pressed = measure(renderer, face, Mouth(press=1))
    assert pressed < 0.03
    assert pressed < 0.25 * measure(renderer, face, Mouth(0.3))


@pytest.mark.parametrize("name", PHOTOS)
def test_rounding_measures_narrower(name: str) -> None:
    face = faces_of(name)[0]
    renderer = Renderer(load(name), [face], 0)
    widths = []
    for spread in (-0.85, 0.0, 0.65):
        seen = finder().track(renderer.frame([Pose(Mouth(0.1, spread))]), face)
        assert seen is not None
        points = seen.landmarks[:, :2]
        widths.append(float(np.linalg.norm(points[61] - points[291])))
    assert widths[0] < 0.92 * widths[1]
    assert widths[2] > 1.02 * widths[1]
