"""What a frame must keep of the picture, and what it must change."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from portraits import ASTRONAUT, PORTRAITS, faces_of, load
from talkhead.engines import Picture
from talkhead.engines.draft.pose import Head, Mouth, Pose
from talkhead.engines.draft.render import Renderer

TALKING = Pose(Mouth(0.25, 0.3, tongue=0.5), 0.6, Head(0.02, 0.01, -0.01, 0.01, 0.03, 0.02))
NAMES = [ASTRONAUT, *PORTRAITS]


def changed(before: Picture, after: Picture) -> np.ndarray:
    return (before != after).any(axis=2)


@pytest.mark.parametrize("name", NAMES)
def test_only_heads_change(name: str) -> None:
    picture = load(name)
    faces = faces_of(name)
    frame = Renderer(picture, faces, 0).frame([TALKING] * len(faces))
    assert frame.shape == picture.shape
    assert frame.dtype == np.uint8
    touched = changed(picture, frame)
    assert touched.mean() > 0.01
    border = np.ones_like(touched)
    border[4:-4, 4:-4] = False
    assert not touched[border].any()
    rows, columns = np.indices(touched.shape)
    far = np.ones_like(touched)
    for face in faces:
        x, y = face.box.center
        reach = 1.9 * max(face.box.width, face.box.height)
        far &= np.hypot(columns - x, rows - y) > reach
    assert not touched[far].any()


def test_the_picture_given_is_not_written_to() -> None:
    picture = load(ASTRONAUT)
    kept = picture.copy()
    renderer = Renderer(picture, faces_of(ASTRONAUT), 0)
    first = renderer.frame([TALKING])
    assert np.array_equal(picture, kept)
    first[:] = 0
    assert renderer.frame([TALKING]).any()


def test_same_seed_and_pose_give_the_same_pixels_in_any_order() -> None:
    picture, faces = load("woman_frontal_closed"), faces_of("woman_frontal_closed")
    poses = [TALKING, Pose(Mouth(0.1, -0.8)), Pose(blink=1)]
    one, two = Renderer(picture, faces, 7), Renderer(picture, faces, 7)
    forth = [one.frame([pose]) for pose in poses]
    back = [two.frame([pose]) for pose in reversed(poses)]
    for a, b in zip(forth, reversed(back), strict=True):
        assert np.array_equal(a, b)


def test_another_seed_draws_other_teeth() -> None:
    picture, faces = load("woman_threequarter_closed"), faces_of("woman_threequarter_closed")
    wide = [Pose(Mouth(0.33))]
    one, two = (Renderer(picture, faces, seed).frame(wide) for seed in (1, 2))
    assert 0 < changed(one, two).mean() < 0.01


@pytest.mark.parametrize("name", ["woman_threequarter_closed", "closeup_redhair_closed"])
def test_a_closed_mouth_at_rest_stays_as_it_is(name: str) -> None:
    picture, faces = load(name), faces_of(name)
    frame = Renderer(picture, faces, 0).frame([Pose()])
    difference = np.abs(frame.astype(int) - picture)
    assert (difference.max(axis=2) > 8).mean() < 0.001
    assert difference.mean() < 0.05


def test_an_open_smile_closes_at_rest() -> None:
    picture, faces = load(ASTRONAUT), faces_of(ASTRONAUT)
    frame = Renderer(picture, faces, 0).frame([Pose()])
    points = faces[0].landmarks[[13, 14], :2].mean(axis=0).astype(int)
    teeth = picture[points[1] - 1 : points[1] + 2, points[0] - 6 : points[0] + 7].astype(int)
    lips = frame[points[1] - 1 : points[1] + 2, points[0] - 6 : points[0] + 7].astype(int)
    redness = lips[..., 0] - lips[..., 1:].mean(axis=-1)
    assert redness.mean() > (teeth[..., 0] - teeth[..., 1:].mean(axis=-1)).mean() + 15


def test_rounding_narrows_an_open_smile_and_hides_its_teeth() -> None:
    picture, faces = load(ASTRONAUT), faces_of(ASTRONAUT)
    renderer = Renderer(picture, faces, 0)
    points = faces[0].landmarks[:, :2]
    x0, x1 = points[[61, 291], 0].astype(int)
    y0, y1 = int(points[0, 1]) - 4, int(points[17, 1]) + 8
    spread, rounded = (
        renderer.frame([Pose(Mouth(0.15, way))])[y0:y1, x0:x1].astype(int) for way in (0.5, -0.9)
    )
    dark = [np.flatnonzero((part.sum(axis=2) < 200).any(axis=0)) for part in (spread, rounded)]
    assert np.ptp(dark[1]) < 0.85 * np.ptp(dark[0])
    middle, seam = int(points[13, 0]) - x0, int(points[[13, 14], 1].mean()) - y0
    teeth = [
        np.median(part[seam - 2 : seam + 3, middle - 6 : middle + 7]) for part in (spread, rounded)
    ]
    assert teeth[1] < 0.5 * teeth[0]


@pytest.mark.parametrize("name", ["drawing_robot", "two_people"])
def test_closed_eyes_do_not_blink(name: str) -> None:
    picture, faces = load(name), faces_of(name)[:1]
    renderer = Renderer(picture, faces, 0)
    assert np.array_equal(renderer.frame([Pose()]), renderer.frame([Pose(blink=1)]))


@pytest.mark.parametrize("name", [ASTRONAUT, "man_beard_dark", "woman_threequarter_closed"])
def test_a_blink_covers_the_eyes_and_nothing_else(name: str) -> None:
    picture, faces = load(name), faces_of(name)
    renderer = Renderer(picture, faces, 0)
    open_eyes, shut = renderer.frame([Pose()]), renderer.frame([Pose(blink=1)])
    touched = changed(open_eyes, shut)
    points = faces[0].landmarks[:, :2]
    for upper, lower in ((159, 145), (386, 374)):
        x, y = points[[upper, lower]].mean(axis=0).astype(int)
        assert touched[y - 1 : y + 2, x - 1 : x + 2].any()
    below = int(points[[61, 291, 2], 1].min())
    assert not touched[below:].any()


def test_neighbours_do_not_move_each_other() -> None:
    picture, faces = load("two_people"), faces_of("two_people")
    assert len(faces) == 2
    renderer = Renderer(picture, faces, 0)
    still = renderer.frame([Pose(), Pose()])
    for moving, at_rest in ((0, 1), (1, 0)):
        poses = [Pose(), Pose()]
        poses[moving] = TALKING
        touched = changed(still, renderer.frame(poses))
        box = faces[at_rest].box
        own = touched[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)]
        assert not own.any()
        assert touched.any()


def test_bars_beside_the_picture_keep_a_straight_edge() -> None:
    inner = load("closeup_redhair_closed")
    padded = np.zeros((inner.shape[0], inner.shape[1] + 200, 3), np.uint8)
    padded[:, 100:-100] = inner
    faces = faces_of("closeup_redhair_closed", shift=100)
    frame = Renderer(padded, faces, 0).frame([TALKING])
    touched = changed(padded, frame)
    assert not touched[:, :101].any()
    assert not touched[:, -101:].any()
    assert touched[:, 110:-110].any()


@pytest.mark.parametrize("name", NAMES)
def test_no_pose_breaks_a_frame(name: str) -> None:
    picture, faces = load(name), faces_of(name)
    renderer = Renderer(picture, faces, 0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        mouth = Mouth(
            rng.choice([0, 1e-4, 0.02, 0.2, 0.45]), rng.uniform(-1, 1), *rng.choice([0.0, 1.0], 3)
        )
        pose = Pose(mouth, rng.uniform(0, 1), Head(*rng.normal(0, 0.03, 6)))
        frame = renderer.frame([pose] * len(faces))
        assert frame.shape == picture.shape


@pytest.mark.parametrize("size", [(256, 256), (256, 456), (720, 404)])
def test_other_sizes_and_formats(size: tuple[int, int]) -> None:
    height, width = size
    whole = Image.fromarray(load("woman_frontal_closed"))
    side = min(size)
    fitted = np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))
    picture = np.full((height, width, 3), 90, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = fitted
    faces = faces_of("woman_frontal_closed", scale=side / whole.width, shift=left, down=top)
    renderer = Renderer(picture, faces, 0)
    assert changed(renderer.frame([Pose()]), renderer.frame([TALKING])).mean() > 0.01


@pytest.mark.parametrize(("shift", "down"), [(-160, 0), (0, -150), (0, 190)])
def test_a_face_cut_by_the_border_does_no_harm(shift: int, down: int) -> None:
    picture = load("woman_frontal_closed")
    moved = np.roll(picture, (down, shift), axis=(0, 1))
    faces = faces_of("woman_frontal_closed", shift=shift, down=down)
    frame = Renderer(moved, faces, 0).frame([TALKING])
    assert frame.shape == moved.shape


def test_each_face_needs_a_pose() -> None:
    picture, faces = load(ASTRONAUT), faces_of(ASTRONAUT)
    with pytest.raises(ValueError, match="argument"):
        Renderer(picture, faces, 0).frame([Pose(), Pose()])


def test_small_motion_does_not_soften_the_face() -> None:
    picture, faces = load("man_beard_dark"), faces_of("man_beard_dark")
    frame = Renderer(picture, faces, 0).frame([Pose(Mouth(), 0, Head(0.004, 0.003, 0.002))])
    x0, y0, x1, y1 = map(round, faces[0].box)
    # Contrast between neighbours above the mouth: a second interpolation would cost a third of it.
    sharp = [
        np.abs(np.diff(part[y0 : (y0 + y1) // 2, x0:x1].astype(float), axis=1)).mean()
        for part in (picture, frame)
    ]
    assert sharp[1] > 0.85 * sharp[0]


@pytest.mark.parametrize("name", [ASTRONAUT, "woman_frontal_closed"])
def test_nothing_pops_as_a_pose_changes_slowly(name: str) -> None:
    picture, faces = load(name), faces_of(name)
    renderer = Renderer(picture, faces, 0)
    runs = {
        "opening": [Pose(Mouth(0.1 * k / 20)) for k in range(21)],
        "narrowing": [Pose(Mouth(0.12, 0.6 - 1.5 * k / 20)) for k in range(21)],
        "pressing": [Pose(Mouth(press=k / 20)) for k in range(21)],
        "blinking": [Pose(blink=k / 20) for k in range(21)],
    }
    for what, poses in runs.items():
        frames = [renderer.frame([pose]).astype(int) for pose in poses]
        steps = [np.abs(b - a).sum() for a, b in pairwise(frames)]
        assert max(steps) < 4 * np.median(steps), what
