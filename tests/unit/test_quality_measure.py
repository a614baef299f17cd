from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talkhead.engines import Box, Face
from talkhead.media.face import FaceFinder
from talkhead.quality.measure import SEARCH_EVERY, count_blinks, even, follow_face

PORTRAITS = Path(__file__).parents[1] / "media" / "portraits"


class Scripted:
    """A finder that sees, in picture number i, faces at the x positions scripted for i."""

    def __init__(self, script):
        self.script = script
        self.searches = 0

    def find(self, picture, limit=None):
        self.searches += 1
        faces = [_face(x, width) for x, width in self.script[int(picture[0, 0, 0])]]
        return sorted(faces, key=lambda face: -face.box.area)[:limit]

    def track(self, picture, previous):
        for face in self.find(picture):
            if abs(face.box.x0 - previous.box.x0) < 5:
                self.searches -= 1
                return face
        self.searches -= 1
        return None


def _face(x, width):
    """A face whose lips are open by a hundredth of x eye distances."""
    points = np.zeros((478, 3), np.float32)
    points[[33, 133], 0], points[[362, 263], 0] = -0.5, 0.5  # eyes one unit apart
    points[[14, 87, 317], 1] = x / 100
    points[[145, 374], 1] = 0.2
    return Face(Box(x, 0, x + width, width), points, 20.0)


def _follow(script, index=0):
    finder = Scripted(script)
    frames = ((0.04 * i, np.full((2, 2, 3), i, np.uint8)) for i in range(len(script)))
    return follow_face(frames, finder, index), finder


def test_follows_the_largest_or_the_one_asked_for():
    script = [[(10, 50), (200, 80)]] * 4
    largest, _ = _follow(script)
    assert np.allclose(largest.aperture, 2.0)
    second, _ = _follow(script, index=1)
    assert np.allclose(second.aperture, 0.1)
    assert largest.faces == second.faces == 2
    assert np.allclose(largest.eyes, 0.2)
    assert np.allclose(largest.times, [0, 0.04, 0.08, 0.12])


def test_a_third_face_of_two_is_no_face():
    track, _ = _follow([[(10, 50), (200, 80)]] * 3, index=2)
    assert track.lost == 1
    assert track.faces == 2


def test_a_lost_face_is_found_again_and_not_taken_for_its_neighbour():
    both, other = [(10, 50), (200, 80)], [(10, 50)]
    script = [both] * 2 + [other] * 4 + [both] * 10
    track, _ = _follow(script)
    assert np.isnan(track.aperture[2:6]).all()
    seen = track.aperture[np.isfinite(track.aperture)]
    assert np.allclose(seen, 2.0)
    assert 4 / 16 <= track.lost <= (4 + SEARCH_EVERY) / 16


def test_no_face_at_all_is_not_searched_for_in_every_frame():
    track, finder = _follow([[]] * 20)
    assert (track.lost, track.faces) == (1, 0)
    assert finder.searches == 20 / SEARCH_EVERY


def test_no_frames_at_all():
    track, _ = _follow([])
    assert (track.lost, track.faces, track.times.size) == (1, 0, 0)


def _eyes(*closings, frames=100, usual=0.2):
    eyes = np.full(frames, usual) + np.random.default_rng(0).normal(0, 0.005, frames)
    for at in closings:
        eyes[at : at + 4] = [0.13, 0.03, 0.06, 0.14]
    return eyes


def test_blinks_are_counted_once_each():
    assert count_blinks(_eyes()) == 0
    assert count_blinks(_eyes(10, 40, 80)) == 3
    flutter = _eyes(10)
    flutter[11:15] = [0.11, 0.125, 0.11, 0.125]  # around the limit, never open again
    assert count_blinks(flutter) == 1
    gap = _eyes(10, 40)
    gap[20:30] = np.nan
    assert count_blinks(gap) == 2


def test_eyes_that_are_never_open_have_no_blinks_to_count():
    assert count_blinks(_eyes(10, usual=0.03)) is None
    assert count_blinks(np.full(10, np.nan)) is None


def test_even_keeps_even_frames_and_fills_uneven_ones():
    times = np.arange(10) / 25
    values = np.arange(10.0)
    values[4] = np.nan
    assert np.allclose(even(times, values, times), values, equal_nan=True)
    uneven = np.delete(times, [3, 7])
    assert np.allclose(even(uneven, 25 * uneven, times), np.arange(10.0))
    assert np.isnan(even(times, np.full(10, np.nan), times)).all()


def test_an_open_smile_measures_wider_than_closed_lips():
    finder = FaceFinder()
    smile = Path(str(resources.files("talkhead.assets").joinpath("astronaut.png")))
    calm = PORTRAITS / "woman_frontal_closed.png"
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in (smile, calm)]
    wide, shut = (follow_face(iter([(0.0, picture)]), finder) for picture in pictures)
    assert wide.aperture[0] > 0.1
    assert shut.aperture[0] < 0.02
    assert wide.eyes[0] == pytest.approx(0.165, abs=0.03)
