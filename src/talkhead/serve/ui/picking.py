"""What a click in the picture means, where two people speak. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

LEAST = 4  # pixels of a side; less is a double click


def picked(
    boxes: Json, speaker: int, event: Mapping[str, Any], faces: Sequence[Json]
) -> tuple[Json, int]:
    """Return the boxes after a click, and the speaker whose turn it is then.

    A click on a face gives it to the speaker; two clicks beside one are corners of a box.
    """
    kept = {name: box for name, box in boxes.items() if name != "corner"}
    if event.get("do") == "face":
        at = int(event["at"])
        box = list(faces[at]["box"]) if at < len(faces) else None
    elif corner := boxes.get("corner"):
        xs, ys = sorted((corner[0], event["x"])), sorted((corner[1], event["y"]))
        wide = xs[1] - xs[0] >= LEAST and ys[1] - ys[0] >= LEAST
        box = [xs[0], ys[0], xs[1], ys[1]] if wide else None
    else:
        return {**kept, "corner": [event["x"], event["y"]]}, speaker
    if box is None:
        return kept, speaker
    return {**kept, str(speaker): box}, 1 - speaker
