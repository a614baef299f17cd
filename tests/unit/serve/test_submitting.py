"""What a status says in a line, and what a sent job's files are called."""

from typing import Any

import pytest

from talkhead.serve.arrivals import suffix_of
from talkhead.serve.following import moment


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"status": "IN_QUEUE"}, ("queue", 0.0, "")),
        ({"status": "IN_QUEUE", "position": 3}, ("queue", 0.0, "place 3")),
        ({"status": "IN_PROGRESS"}, ("start", 0.0, "")),
        ({"status": "IN_PROGRESS", "output": "10 %"}, ("start", 0.0, "")),
        (
            {"status": "IN_PROGRESS", "output": {"stage": "render", "pct": 40, "window": 1,
                                                 "windows": 3, "eta_s": 75}},
            ("render", 40.0, "segment 2/3, 1:15 min left"),
        ),
        (
            {"status": "IN_PROGRESS", "output": {"stage": "sampling the video", "pct": None,
                                                 "window": "1", "eta_s": None}},
            ("sampling ", 0.0, ""),
        ),
    ],
)  # fmt: skip
def test_a_status_in_a_line(body: dict[str, Any], shown: tuple[str, float, str]) -> None:
    assert moment(body) == shown


def test_endings() -> None:
    def of(kind: str, mime: str) -> dict[str, Any]:
        return {"kind": kind, "mime": mime}

    picture, video = of("thumbnail", "image/jpeg"), of("video", "video/mp4")
    assert suffix_of({"outputs": [picture, video]}) == ".mp4"
    assert suffix_of({"outputs": [of("audio", "audio/wav")]}) == ".wav"
    assert suffix_of({"outputs": [of("file", "x/y")]}) == ".bin"
