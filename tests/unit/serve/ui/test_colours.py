"""Whether what the page says can be read: contrast as WCAG counts it, light and dark."""

import re
from importlib.resources import files

import pytest

from talkhead.serve.ui.colours import COLOURS

CSS = (files("talkhead.serve.ui") / "style.css").read_text(encoding="utf-8")
TEXT, SHAPE = 4.5, 3.0  # AA: of text, and of what shows a state or the focus
SCHEMES = ("light", "dark")

# Our own colours and the grounds that they stand on; `body` is the page's.
PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "soft", "accent", "bad", "warn")
      for ground in ("card", "ground")),
    *((ink, "bad-ground", TEXT) for ink in ("ink", "soft", "bad")),
    ("accent-ink", "accent", TEXT),
    ("accent", "line", SHAPE),  # the bar of progress
]  # fmt: skip
GRADIO = [
    ("body_text_color", "body_background_fill"),
    ("body_text_color_subdued", "body_background_fill"),
    ("body_text_color_subdued", "block_background_fill"),
    ("block_label_text_color", "block_label_background_fill"),
    ("block_title_text_color", "block_background_fill"),
    ("block_info_text_color", "block_background_fill"),
    ("body_text_color", "input_background_fill"),
    ("input_placeholder_color", "input_background_fill"),
    ("button_primary_text_color", "button_primary_background_fill"),
    ("button_primary_text_color", "button_primary_background_fill_hover"),
    ("button_secondary_text_color", "button_secondary_background_fill"),
    ("button_secondary_text_color", "button_secondary_background_fill_hover"),
]


def contrast(first: str, second: str) -> float:
    """Return the ratio of two colours such as #1c2321, from 1 to 21."""
    lights = sorted(map(luminance, (first, second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    plain = colour.lstrip("#")
    plain = "".join(2 * digit for digit in plain) if len(plain) == 3 else plain
    parts = [int(plain[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def own(scheme: str) -> dict[str, str]:
    """Return the variables of the style sheet."""
    block = re.search(rf"{ {'light': ':root', 'dark': '.dark'}[scheme] } {{(.*?)}}", CSS, re.DOTALL)
    assert block is not None
    return dict(re.findall(r"--th-([a-z-]+): (#[0-9a-f]+);", block[1]))


def test_the_sum_is_right() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_our_own_colours(scheme: str, ink: str, ground: str, least: float) -> None:
    known = own(scheme)
    assert contrast(known[ink], known[ground]) >= least


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("ink", "ground"), GRADIO)
def test_colours_of_gradios_parts(scheme: str, ink: str, ground: str) -> None:
    at = SCHEMES.index(scheme)
    assert contrast(COLOURS[ink][at], COLOURS[ground][at]) >= TEXT


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_style_sheets_have_one_ground(scheme: str) -> None:
    at = SCHEMES.index(scheme)
    assert COLOURS["body_background_fill"][at] == own(scheme)["ground"]
    assert COLOURS["block_background_fill"][at] == own(scheme)["card"]


def test_labels_of_faces_and_boxes() -> None:
    """Colours that are the same in both schemes, as they lie on a picture."""
    found = {
        name: dict(re.findall(r"[; {](color|background): (#[0-9a-f]+)", rule))
        for name, rule in re.findall(r"^(\.th-(?:face|box)\S* [bi]) ({.*?})", CSS, re.M | re.S)
    }
    white = found[".th-box b"]["color"]
    assert contrast(white, found[".th-box-1 b"]["background"]) >= TEXT
    assert contrast(white, found[".th-box-2 b"]["background"]) >= TEXT
    assert contrast(*found[".th-face i"].values()) >= TEXT


def test_every_colour_is_judged() -> None:
    judged = {name for ink, ground, _ in PAIRS for name in (ink, ground)}
    assert set(own("light")) == set(own("dark")) == judged
