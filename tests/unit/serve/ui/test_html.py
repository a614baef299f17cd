"""The page's fragments, and what a click in the picture means."""

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.ui import html, telling

EVIL = '<script>alert("x")</script>'
FACES = [{"box": [180, 69.5, 271.4, 178.3], "speaker": 0}, {"box": [700, 70, 790, 180]}]


def test_nothing_that_comes_from_outside_is_html() -> None:
    error = TalkheadError(Code.INPUT, EVIL, EVIL, fields=[EVIL])
    job = {"id": EVIL, "title": EVIL, "status": "COMPLETED", "engine": EVIL}
    made = {"outputs": [], "engine": EVIL, "warnings": [{"message": EVIL}], "seconds": {EVIL: 9}}
    pieces = [
        html.trouble(telling.trouble(error)),
        html.history([job], {EVIL: EVIL}),
        html.result(made, {"portrait": EVIL}, EVIL, EVIL),
        html.plan([(EVIL, EVIL)], [EVIL]),
        html.video(EVIL, label=EVIL, key=EVIL, poster=EVIL),
        html.lacking([{"name": EVIL, "detail": EVIL, "fix": EVIL}], EVIL),
        html.samples([(EVIL, EVIL)]),
        html.empty(EVIL),
    ]
    assert all("<script" not in piece and 'alert("' not in piece for piece in pieces)


def test_progress_says_itself_to_a_screen_reader() -> None:
    now = telling.Moment("Making the video", 41.7, "Window 3 of 6", 2)
    bar = html.progress(now)
    assert 'role="progressbar"' in bar
    assert 'aria-valuenow="42"' in bar


def test_faces_are_numbered_and_only_two_speakers_make_them_buttons() -> None:
    one = html.picture("/p.png", (1024, 512), FACES, {}, two=False)
    assert one.count('class="th-face"') == 2
    assert "<button" not in one
    assert "left:17.58%;top:13.57%" in one
    boxes = {"0": [1, 2, 30, 40], "corner": [5, 5]}
    two = html.picture("/p.png", (1024, 512), FACES, boxes, two=True)
    assert two.count("<button") == 2
    assert "Speaker 1" in two
    assert "Speaker 2" not in two
    assert "th-corner" in two


def test_what_a_card_lets_one_do() -> None:
    def acts(status: str, **more: object) -> list[str]:
        card = html.history([{"id": "j", "status": status, **more}], {})
        names = ("open", "retry", "follow", "delete")
        return [name for name in names if f'data-do="{name}"' in card]

    assert acts("COMPLETED") == ["open", "delete"]
    assert acts("FAILED") == ["retry", "delete"]
    assert acts("IN_PROGRESS") == acts("IN_QUEUE") == ["follow"]
    assert acts("COMPLETED", kept=False) == ["open"]  # a plain endpoint forgets by itself


def test_what_is_not_installed_says_how_to_get_it() -> None:
    engines = [
        {"name": "draft", "ready": True},
        {"name": "infinitetalk", "ready": False, "detail": "no weights", "fix": "talkhead weights"},
    ]
    found = html.lacking(engines, "Not here")
    assert "draft" not in found
    assert "<code>talkhead weights</code>" in found
    assert html.lacking(engines[:1], "Not here") == ""


@pytest.mark.parametrize(
    ("boxes", "event", "after", "next_speaker"),
    [
        ({}, {"do": "face", "at": "1"}, {"0": [700, 70, 790, 180]}, 1),
        ({}, {"do": "point", "x": 10, "y": 20}, {"corner": [10, 20]}, 0),
        ({"corner": [50, 60]}, {"do": "point", "x": 10, "y": 20}, {"0": [10, 20, 50, 60]}, 1),
        ({"corner": [50, 60]}, {"do": "point", "x": 51, "y": 61}, {}, 0),  # a double click
        ({"corner": [1, 1]}, {"do": "face", "at": "0"}, {"0": [180, 69.5, 271.4, 178.3]}, 1),
        ({}, {"do": "face", "at": "9"}, {}, 0),
    ],
)
def test_clicks_in_the_picture(
    boxes: dict[str, object], event: dict[str, object], after: dict[str, object], next_speaker: int
) -> None:
    from talkhead.serve.ui.picking import picked

    assert picked(boxes, 0, event, FACES) == (after, next_speaker)
