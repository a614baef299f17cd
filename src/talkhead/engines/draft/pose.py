"""What a face does in one frame: the numbers between hearing the speech and drawing the picture."""

from typing import NamedTuple


class Mouth(NamedTuple):
    """The mouth's shape. Lengths are shares of the mouth's width in the still picture."""

    aperture: float = 0.0  # inner lip opening at the middle, 0 closed to about .35 wide open
    spread: float = 0.0  # -1 rounded and narrow (UW) to 1 stretched (IY)
    press: float = 0.0  # 0..1, lips pressed together (P, B, M)
    bite: float = 0.0  # 0..1, lower lip against the upper teeth (F, V)
    tongue: float = 0.0  # 0..1, tongue tip raised (L, TH, N, D, T)


class Head(NamedTuple):
    """The head's small motion against the still picture. Lengths are shares of the face's width."""

    roll: float = 0.0  # radians about the neck
    x: float = 0.0
    y: float = 0.0
    scale: float = 0.0  # 0 is unchanged, .01 is 1 % larger
    yaw: float = 0.0
    pitch: float = 0.0


class Pose(NamedTuple):
    """One face in one frame."""

    mouth: Mouth = Mouth()
    blink: float = 0.0  # 0 as in the picture, 1 closed
    head: Head = Head()
