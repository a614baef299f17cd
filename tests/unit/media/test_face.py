from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from talkhead.engines import Box, Face, Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media import face_nets
from talkhead.media.face import (
    BLENDSHAPE_NAMES,
    SMALLEST_MOUTH,
    FaceFinder,
    annotate,
    check_sizes,
    mouth_width,
    pick_faces,
)

PORTRAITS = Path(__file__).parents[2] / "media" / "portraits"


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def astronaut() -> Picture:
    return _read(Path(str(resources.files("talkhead.assets").joinpath("astronaut.png"))))


def _read(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def _canvas(picture: Picture, face_width: float, width: int, height: int) -> Picture:
    """Put the astronaut on a wide canvas with a face of `face_width` pixels, off the middle."""
    scale = face_width / 91
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 90, np.uint8)
    left = width // 6
    rows, columns = min(height, len(small)), min(width - left, small.shape[1])
    canvas[height - rows :, left : left + columns] = small[:rows, :columns]
    return canvas


def _face(x: float, y: float, width: float) -> Face:
    """A face in name only: a box and a mouth half as wide."""
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[61, 0] = width / 2
    return Face(Box(x, y, x + width, y + width), landmarks, 20.0)


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("closeup_redhair_closed", (49, 40, 303, 317)),
        ("drawing_robot", (126, 93, 273, 245)),
        ("man_beard_dark", (80, 89, 226, 259)),
        ("woman_frontal_closed", (130, 130, 272, 303)),
        ("woman_threequarter_closed", (113, 80, 266, 252)),
    ],
)
def test_finds_the_one_face_of_each_portrait(finder, name, box):
    faces = finder.find(_read(PORTRAITS / f"{name}.png"))
    assert len(faces) == 1
    assert faces[0].presence > 10
    # The boxes were looked at on the pictures.
    assert np.allclose(faces[0].box, box, atol=5)


def test_landmarks_lie_on_the_mouth_and_the_irises(finder, astronaut):
    (face,) = finder.find(astronaut)
    assert face.landmarks.shape == (478, 3)
    assert mouth_width(face) == pytest.approx(42.3, abs=1)
    eyes = face.landmarks[[468, 473], :2]  # the irises, read off the picture
    assert np.allclose(eyes, [[203, 101], [246, 103]], atol=2)


def test_two_people_are_two_faces_the_larger_first(finder):
    faces = finder.find(_read(PORTRAITS / "two_people.png"))
    assert len(faces) == 2
    assert faces[0].box.area > faces[1].box.area
    assert faces[0].box.center[0] < 200 < faces[1].box.center[0]


@pytest.mark.parametrize("share", [0.3, 0.12, 0.06])
@pytest.mark.parametrize("limit", [None, 1])
def test_small_faces_on_a_wide_canvas(finder, astronaut, share, limit):
    picture = _canvas(astronaut, share * 1280, 1280, 720)
    (face,) = finder.find(picture, limit)
    assert mouth_width(face) == pytest.approx(share * 1280 / 91 * 42.3, rel=0.05)


def test_a_large_and_a_small_face_are_both_found_without_a_limit(finder, astronaut):
    picture = _canvas(astronaut, 300, 1280, 720)
    picture[100:356, 1000:1256] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    faces = finder.find(picture)
    assert len(faces) == 2
    assert faces[0].box.width > 4 * faces[1].box.width


def test_large_pictures_give_the_same_landmarks(finder, astronaut):
    (small,) = finder.find(astronaut)
    (large,) = finder.find(cv2.resize(astronaut, None, fx=10, fy=10, interpolation=cv2.INTER_CUBIC))
    assert np.abs((large.landmarks[:, :2] + 0.5) / 10 - small.landmarks[:, :2] - 0.5).max() < 1


def test_landmarks_turn_with_the_picture(finder, astronaut):
    (upright,) = finder.find(astronaut)
    (turned,) = finder.find(np.ascontiguousarray(np.rot90(astronaut)))
    back = np.stack([511 - turned.landmarks[:, 1], turned.landmarks[:, 0]], axis=1)
    assert np.abs(back - upright.landmarks[:, :2]).mean() < 1.5


def _noise(blur: float) -> Picture:
    values = np.random.default_rng(0).normal(size=(240, 320, 3))
    smooth = cv2.GaussianBlur(values, (0, 0), blur) if blur else values
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def _text() -> Picture:
    page = np.full((480, 640, 3), 255, np.uint8)
    for line in range(20):
        place = (5, 22 * line + 20)
        cv2.putText(page, f"The quick brown fox {line}", place, 0, 0.8, (0, 0, 0), 2)
    return page


def _ramp() -> Picture:
    return np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 1, 3))


@pytest.mark.parametrize(
    "picture",
    [
        *(_noise(blur) for blur in (0, 2, 4, 6, 12)),
        _text(),
        _ramp(),
        np.full((300, 300, 3), 128, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3, 2000, 3), np.uint8),
    ],
    ids=["noise", "blur2", "blur4", "blur6", "blur12", "text", "ramp", "flat", "dot", "thin"],
)
def test_pictures_without_a_face(finder, picture):
    assert finder.find(picture) == []


def test_body_without_a_head_is_no_face(finder, astronaut):
    assert finder.find(astronaut[200:]) == []


def test_track_follows_a_moving_face_and_loses_it_when_it_goes(finder, astronaut):
    (face,) = finder.find(astronaut)
    moved = cv2.warpAffine(astronaut, np.float32([[1, 0, 12], [0, 1, -8]]), (512, 512))
    followed = finder.track(moved, face)
    assert followed is not None
    shift = (followed.landmarks - face.landmarks)[:, :2].mean(axis=0)
    assert np.allclose(shift, [12, -8], atol=1)
    assert finder.track(np.full_like(astronaut, 128), face) is None


def test_blendshapes_tell_an_open_smile_from_a_closed_mouth(finder, astronaut):
    (smiling,) = finder.find(astronaut)
    (calm,) = finder.find(_read(PORTRAITS / "woman_frontal_closed.png"))
    smile = BLENDSHAPE_NAMES.index("mouthSmileLeft")
    assert len(BLENDSHAPE_NAMES) == 52
    assert finder.blendshapes(smiling).shape == (52,)
    assert finder.blendshapes(smiling)[smile] > 0.5 > 0.2 > finder.blendshapes(calm)[smile]


def test_the_nets_are_run_by_the_engine_that_shows_all_outputs():
    net = face_nets.load_net("face_detector")
    assert set(net.getUnconnectedOutLayersNames()) == {"regressors", "classificators"}


def test_a_damaged_net_is_named(monkeypatch):
    monkeypatch.setitem(face_nets.SHA256, "face_detector", "0" * 64)
    with pytest.raises(TalkheadError, match=r"face_detector\.tflite is damaged") as caught:
        FaceFinder()
    assert caught.value.code is Code.WEIGHTS


def test_pick_takes_the_largest_and_orders_several_from_the_left():
    right, left, small = _face(300, 0, 100), _face(0, 0, 90), _face(150, 0, 60)
    assert pick_faces([right, left, small]) == (right,)
    assert pick_faces([right, left, small], count=2) == (left, right)


def test_pick_follows_the_boxes_in_the_order_of_the_speakers():
    right, left = _face(300, 0, 100), _face(0, 0, 90)
    boxes = [Box(280, 0, 420, 300), Box(0, 0, 100, 100)]
    assert pick_faces([right, left], boxes, 2) == (right, left)
    assert pick_faces([right, left], boxes[::-1], 2) == (left, right)
    assert pick_faces([right, left], [None, boxes[0]], 2) == (left, right)
    assert pick_faces([right, left], [Box(10, 10, 60, 60)], 1) == (left,)


def test_a_box_around_both_leaves_each_speaker_one_face():
    right, left = _face(300, 0, 100), _face(0, 0, 90)
    everything, exact = Box(0, 0, 400, 100), Box(300, 0, 400, 100)
    assert pick_faces([right, left], [everything, exact], 2) == (left, right)


def _refusal(*args, **kwargs) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        pick_faces(*args, **kwargs)
    assert caught.value.code is Code.NO_FACE
    assert caught.value.hint
    return caught.value


def test_pick_refuses_what_it_cannot_do():
    face = _face(10, 20, 90)
    assert "no face was found" in _refusal([]).message
    assert "1 face ([10, 20, 100, 110]) was found" in _refusal([face], count=2).message
    empty = _refusal([face], [Box(300, 300, 400, 400)])
    assert "[300, 300, 400, 400] holds no face" in empty.message
    assert empty.fields == ("speakers.0.box",)
    twice = _refusal([face, _face(300, 0, 90)], [face.box, face.box], 2)
    assert "only a face that another speaker's box names" in twice.message


def test_a_small_mouth_is_refused_with_its_width_and_the_way_out():
    check_sizes([_face(0, 0, 2 * SMALLEST_MOUTH)])
    with pytest.raises(TalkheadError, match=r"speaker 2 .* 15 pixels wide") as caught:
        check_sizes([_face(0, 0, 90), _face(0, 0, 30)])
    assert caught.value.code is Code.NO_FACE
    assert "1.7 times as large" in caught.value.hint


def test_annotate_draws_on_a_copy(finder, astronaut):
    before = astronaut.copy()
    drawn = annotate(astronaut, finder.find(astronaut))
    assert np.array_equal(astronaut, before)
    changed = np.argwhere((drawn != astronaut).any(axis=-1))
    assert changed.min(axis=0)[0] == pytest.approx(70, abs=4)
    assert changed.max(axis=0)[1] == pytest.approx(271, abs=4)
