import numpy as np
import pytest

from portraits import ASTRONAUT, PORTRAITS, faces_of, load
from talkhead.engines.draft.geometry import Span
from talkhead.engines.draft.mouth import Lips, at_middle, find_lips, fold_lips, open_lips, parted
from talkhead.engines.draft.pose import Mouth
from talkhead.engines.draft.teeth import make_inside


def lips_of(name: str) -> Lips:
    picture = load(name)
    return find_lips(picture, faces_of(name)[0], Span(0, 0, picture.shape[1], picture.shape[0]))


@pytest.mark.parametrize("name", [ASTRONAUT, *PORTRAITS])
def test_curves_never_cross(name: str) -> None:
    lips = lips_of(name)
    rng = np.random.default_rng(1)
    for _ in range(50):
        mouth = Mouth(rng.uniform(0, 0.4), rng.uniform(-1, 1), *rng.uniform(0, 1, 3))
        opening = open_lips(lips, mouth)
        upper_edge, top, bottom, lower_edge, chin = opening.after
        assert (upper_edge < top).all()
        assert (top <= bottom).all()
        assert (bottom < lower_edge).all()
        assert (lower_edge < chin).all()


@pytest.mark.parametrize("name", [ASTRONAUT, *PORTRAITS])
def test_the_opening_is_the_aperture_and_nothing_when_shut(name: str) -> None:
    lips = lips_of(name)
    for aperture in (0.0, 0.1, 0.3):
        opening = open_lips(lips, Mouth(aperture))
        height = at_middle(lips, opening.bottom) - at_middle(lips, opening.top)
        # Slits are drawn up to .02 wider than asked.
        assert aperture - 0.01 <= height <= aperture + 0.025
    assert parted(lips, open_lips(lips, Mouth())) is None
    assert parted(lips, open_lips(lips, Mouth(press=1))) is None


def test_the_sides_of_the_fold_agree_beside_the_mouth() -> None:
    lips = lips_of(ASTRONAUT)
    fold = fold_lips(lips, open_lips(lips, Mouth(0.3, -0.8)))
    outside = np.abs(lips.patch.u - lips.middle) > 0.6
    apart = np.abs(fold.above - fold.below)[:, outside]
    near = np.abs(fold.depth[:, outside]) < 2
    assert apart[near].max() < 0.8  # pixels: no seam runs across the cheeks


def test_the_patch_shifts_nothing_on_its_edges() -> None:
    lips = lips_of("woman_frontal_closed")
    joined = fold_lips(lips, open_lips(lips, Mouth(0.3, 1.0))).joined()
    edges = (joined[0], joined[-1], joined[:, 0], joined[:, -1])
    assert max(float(np.abs(edge).max()) for edge in edges) < 0.05


def test_a_gap_of_the_net_on_shut_lips_is_not_taken_for_an_open_mouth() -> None:
    lips = lips_of("closeup_redhair_closed")  # the net sees .037 of the width between its lips
    inside = np.abs(lips.across) < 0.8
    assert float((lips.lower_inner - lips.upper_inner)[inside].max()) < 0.005


def test_teeth_between_lips_that_the_net_calls_shut_are_found() -> None:
    lips = lips_of("woman_frontal_closed")
    inside = np.abs(lips.across) < 0.5
    assert float((lips.lower_inner - lips.upper_inner)[inside].max()) > 0.04


def test_only_a_smile_that_shows_teeth_lends_its_own() -> None:
    own = {
        name: make_inside(load(name), faces_of(name)[0], lips_of(name), 0).own
        for name in (ASTRONAUT, *PORTRAITS)
    }
    assert own.pop(ASTRONAUT)
    assert not any(own.values()), own
