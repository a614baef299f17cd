"""Faces in pictures: 478 landmarks and 52 blendshapes from three small nets run by OpenCV.

The steps follow MediaPipe's face landmarker (Apache-2.0): a detector on a 128-pixel square gives a
box and two eyes; a turned square around them goes through the landmark net; the landmarks give the
square again, better centred. All numbers about anchors and squares are that pipeline's.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Box, Face, Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media.face_nets import BLENDSHAPE_LANDMARKS, BLENDSHAPE_NAMES, anchors, load_net

__all__ = ["BLENDSHAPE_NAMES", "FaceFinder", "annotate", "check_sizes", "mouth_width", "pick_faces"]

PRESENCE = 5.0  # logit; real faces gave 10 to 23, drawings 10 and more
# What the detector itself doubts must look surer to the landmark net: blurred noise reached a score
# of .67 and a presence of 10.5, the weakest of seven real portraits .86 and 13.9.
CLEAR_SCORE, CLEAR_PRESENCE = 0.7, 12.0
SMALLEST_MOUTH = 24.0  # pixels between the lip corners; below, lips cannot be drawn or measured

DETECTOR_SIDE = 128
LANDMARK_SIDE = 256
ROOM = 1.5  # the landmark net's square, in sizes of the face's box
SEARCH_SIDE = 1280  # longest side of the copy that the detector sees
TILES = (1.0, 0.6, 0.36)  # sides of the search squares, in short sides of the picture
SMALLEST_TILE = 64  # pixels; a face inside would be too small to use
SCORE = 0.5
SAME = 0.3  # boxes that overlap by more (IoU) are one face
MOST_CANDIDATES = 32  # each costs two runs of the landmark net, about 15 ms

# Landmark numbers. "Left" and "right" are as seen in the picture.
EYE_LEFT, EYE_RIGHT = 33, 263  # outer corners
LIP_LEFT, LIP_RIGHT = 61, 291  # corners


class _Square(NamedTuple):
    """A turned square of the picture: centre and side in pixels, angle in radians."""

    x: float
    y: float
    side: float
    angle: float


class _Candidate(NamedTuple):
    """Something that the detector takes for a face, in pixels of the picture."""

    score: float
    box: Box
    eyes: NDArray[np.float64]  # (2, 2): left eye, right eye


class FaceFinder:
    """Finds and follows faces. Holds the nets: build one, and use it from one thread at a time."""

    def __init__(self) -> None:
        self._detector = load_net("face_detector")
        self._mesh = load_net("face_landmarks_detector")
        self._shapes = load_net("face_blendshapes")
        self._anchors = anchors()

    def find(self, picture: Picture, limit: int | None = None) -> list[Face]:
        """Return the faces of an RGB picture, the largest first.

        With a limit the search ends as soon as that many are found, so small faces beside large
        ones may go unseen; without one the smallest tiles are searched as well.
        """
        faces: list[Face] = []
        for candidates in self._search(picture):
            for candidate in candidates:
                if not any(_overlap(candidate.box, face.box) > SAME for face in faces):
                    face = self._refine(picture, candidate)
                    if face and not any(_same(face.box, other.box) for other in faces):
                        faces.append(face)
            if limit is not None and len(faces) >= limit:
                break
        return sorted(faces, key=lambda face: -face.box.area)[:limit]

    def track(self, picture: Picture, previous: Face) -> Face | None:
        """Return the same face in the next picture of a video, or None where it is lost."""
        face = self._landmarks(picture, _square_of_face(previous.landmarks))
        return face if face.presence > PRESENCE else None

    def blendshapes(self, face: Face) -> NDArray[np.float32]:
        """Return the face's expression, (52,) from 0 to 1, in the order of BLENDSHAPE_NAMES."""
        self._shapes.setInput(face.landmarks[None, BLENDSHAPE_LANDMARKS, :2].astype(np.float32))
        return np.asarray(self._shapes.forward(), np.float32).reshape(-1)

    def _search(self, picture: Picture) -> Iterator[list[_Candidate]]:
        """Yield candidates of the whole picture, then of ever smaller tiles."""
        height, width = picture.shape[:2]
        scale = min(1.0, SEARCH_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = picture if scale == 1 else _resize(picture, size)
        yield _suppress(self._detect(small, 0, 0, scale))
        for share in TILES:
            side = int(min(size) * share)
            if side < SMALLEST_TILE or side == max(size):  # the latter has been seen as a whole
                continue
            tiles = [(x, y) for y in _steps(size[1], side) for x in _steps(size[0], side)]
            yield _suppress(
                [
                    candidate
                    for x, y in tiles
                    for candidate in self._detect(small[y : y + side, x : x + side], x, y, scale)
                ]
            )

    def _detect(self, tile: NDArray[np.uint8], x: int, y: int, scale: float) -> list[_Candidate]:
        """Return what the detector sees in a tile at (x, y) of a copy reduced by scale."""
        height, width = tile.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = cv2.copyMakeBorder(
            tile, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT
        )
        blob = cv2.dnn.blobFromImage(
            square, 1 / 127.5, (DETECTOR_SIDE, DETECTOR_SIDE), (127.5, 127.5, 127.5)
        )
        self._detector.setInput(blob)
        values, logits = self._detector.forward(["regressors", "classificators"])
        scores = 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64).reshape(-1), -80, 80)))
        picked = np.flatnonzero(scores > SCORE)
        values = np.asarray(values, np.float64).reshape(len(self._anchors), 16)[picked]
        anchored = self._anchors[picked]
        offset = np.array([x - left, y - top])
        centers = ((values[:, 0:2] / DETECTOR_SIDE + anchored) * side + offset) / scale
        halves = values[:, 2:4] / DETECTOR_SIDE * side / scale / 2
        points = values[:, 4:8].reshape(-1, 2, 2) / DETECTOR_SIDE + anchored[:, None]
        return [
            _Candidate(float(score), Box(*(center - half), *(center + half)), eyes)
            for score, center, half, eyes in zip(
                scores[picked], centers, halves, (points * side + offset) / scale, strict=True
            )
            if half.min() > 0
        ]

    def _refine(self, picture: Picture, candidate: _Candidate) -> Face | None:
        """Return the face that a candidate is, looked at twice, or None where it is none."""
        first = self._landmarks(picture, _square_of_eyes(candidate))
        if first.presence <= 0:
            return None
        face = self._landmarks(picture, _square_of_face(first.landmarks))
        clear = candidate.score > CLEAR_SCORE or face.presence > CLEAR_PRESENCE
        # A real face stays where it was seen; texture that looks like one wanders.
        stays = _same(first.box, face.box)
        return face if clear and stays and face.presence > PRESENCE else None

    def _landmarks(self, picture: Picture, square: _Square) -> Face:
        """Run the landmark net on a square of the full-size picture."""
        crop, to_picture = _cut(picture, square)
        self._mesh.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        points, presence = self._mesh.forward(["Identity", "Identity_1"])
        points = np.asarray(points, np.float32).reshape(478, 3)
        flat = points[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        depth = points[:, 2:] * (square.side / LANDMARK_SIDE)
        landmarks = np.concatenate([flat, depth], axis=1).astype(np.float32)
        return Face(_bounds(landmarks), landmarks, float(np.asarray(presence).reshape(-1)[0]))


def mouth_width(face: Face) -> float:
    """Return the distance between the lip corners in pixels."""
    corners = face.landmarks[[LIP_LEFT, LIP_RIGHT], :2]
    return float(np.hypot(*(corners[1] - corners[0])))


def pick_faces(
    faces: Sequence[Face],
    boxes: Sequence[Box | None] | None = None,
    count: int = 1,
) -> tuple[Face, ...]:
    """Return one face for each of `count` speakers, in their order.

    A speaker's box names a face. Without any box the largest faces are taken, from left to right; a
    speaker without one beside others with one gets the largest face left over.
    """
    if not faces:
        raise TalkheadError(
            Code.NO_FACE,
            "no face was found in the portrait",
            "Use a picture with one clearly visible face, from the front or at three quarters.",
        )
    if len(faces) < count:
        raise TalkheadError(
            Code.NO_FACE,
            f"{count} speakers but only {_listed(faces)} found in the portrait",
            "Use a picture that shows a face for each speaker, or fewer speakers.",
            fields=("speakers",),
        )
    if boxes is None or all(box is None for box in boxes):
        largest = sorted(faces, key=lambda face: -face.box.area)[:count]
        return tuple(sorted(largest, key=lambda face: face.box.center[0]))
    return tuple(_match(faces, boxes))


def check_sizes(faces: Sequence[Face]) -> None:
    """Raise E_NO_FACE for a face, in pixels of the working size, whose mouth is too small."""
    for number, face in enumerate(faces, start=1):
        mouth = mouth_width(face)
        if mouth < SMALLEST_MOUTH:
            raise TalkheadError(
                Code.NO_FACE,
                f"the face of speaker {number} is too small: its mouth is {mouth:.0f} pixels wide "
                f"at the working size, and {SMALLEST_MOUTH:.0f} are needed",
                "Crop the portrait closer to the face (fit: face), or ask for a video at least "
                f"{SMALLEST_MOUTH / max(mouth, 1) + 0.05:.1f} times as large.",
                fields=("portrait",),
            )


def annotate(picture: Picture, faces: Sequence[Face]) -> Picture:
    """Return a copy of the picture with a numbered frame around each face."""
    out = np.ascontiguousarray(picture).copy()
    line = max(1, round(max(out.shape[:2]) / 400))
    for number, face in enumerate(faces, start=1):
        x0, y0, x1, y1 = (round(value) for value in face.box)
        cv2.rectangle(out, (x0, y0), (x1, y1), (255, 210, 0), line)
        height = max(12, round(face.box.height / 8))
        font = cv2.FONT_HERSHEY_SIMPLEX
        size = cv2.getFontScaleFromHeight(font, height, line)
        at = (x0 + line, y0 + height + 2 * line)
        cv2.putText(out, str(number), at, font, size, (0, 0, 0), 3 * line, cv2.LINE_AA)
        cv2.putText(out, str(number), at, font, size, (255, 210, 0), line, cv2.LINE_AA)
    return out


def _steps(length: int, side: int) -> list[int]:
    """Return the starts of half-overlapping tiles that cover a length."""
    last = max(length - side, 0)
    return sorted({*range(0, last + 1, max(side // 2, 1)), last})


def _suppress(candidates: list[_Candidate]) -> list[_Candidate]:
    """Keep the best of the candidates that overlap, the surest first."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda found: -found.score):
        if not any(_overlap(candidate.box, other.box) > SAME for other in kept):
            kept.append(candidate)
    return kept[:MOST_CANDIDATES]


def _overlap(a: Box, b: Box) -> float:
    """Return intersection over union, 0 to 1."""
    shared = Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1))
    common = shared.area if shared.width > 0 and shared.height > 0 else 0.0
    total = a.area + b.area - common
    return common / total if total > 0 else 0.0


def _holds(box: Box, point: tuple[float, float]) -> bool:
    return box.x0 <= point[0] < box.x1 and box.y0 <= point[1] < box.y1


def _same(a: Box, b: Box) -> bool:
    """Return whether two boxes frame the same face: no face lies in the middle of another."""
    return _overlap(a, b) > SAME or _holds(a, b.center) or _holds(b, a.center)


def _square_of_eyes(candidate: _Candidate) -> _Square:
    """Return the landmark net's square for a detection, upright along the line of the eyes."""
    across = candidate.eyes[1] - candidate.eyes[0]
    side = ROOM * max(candidate.box.width, candidate.box.height)
    return _Square(*candidate.box.center, side, math.atan2(across[1], across[0]))


def _square_of_face(landmarks: NDArray[np.float32]) -> _Square:
    """Return the landmark net's square around known landmarks (478, 3)."""
    points = landmarks[:, :2].astype(np.float64)
    across = points[EYE_RIGHT] - points[EYE_LEFT]
    angle = math.atan2(across[1], across[0])
    cos, sin = math.cos(angle), math.sin(angle)
    upright = points @ np.array([[cos, -sin], [sin, cos]])
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = np.array([[cos, -sin], [sin, cos]]) @ ((low + high) / 2)
    return _Square(float(x), float(y), ROOM * float((high - low).max()), angle)


def _cut(picture: Picture, square: _Square) -> tuple[Picture, NDArray[np.float64]]:
    """Return a square as a 256-pixel picture, and the affine (2, 3) from its pixels back."""
    scale = square.side / LANDMARK_SIDE
    cos, sin = math.cos(square.angle) * scale, math.sin(square.angle) * scale
    turn = np.array([[cos, -sin], [sin, cos]])
    corner = np.array([square.x, square.y]) - turn @ np.full(2, LANDMARK_SIDE / 2)
    affine = np.concatenate([turn, corner[:, None]], axis=1)
    source, shrunk, start = _shrink(picture, square) if scale > 2 else (picture, 1.0, np.zeros(2))
    sample = affine.copy()
    sample[:, 2] -= start
    sample /= shrunk
    crop = cv2.warpAffine(
        source,
        sample,
        (LANDMARK_SIDE, LANDMARK_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return np.asarray(crop, np.uint8), affine


def _shrink(picture: Picture, square: _Square) -> tuple[Picture, float, NDArray[np.float64]]:
    """Return the surroundings of a square, averaged down so that sampling it does not alias.

    With it come pixels of the picture per pixel, and where it starts in the picture.
    """
    height, width = picture.shape[:2]
    reach = square.side * 0.75  # half the diagonal, and a little
    x0, y0 = (int(np.clip(value - reach, 0, None)) for value in (square.x, square.y))
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    x1 = max(x0 + 1, min(width, math.ceil(square.x + reach)))
    y1 = max(y0 + 1, min(height, math.ceil(square.y + reach)))
    factor = square.side / LANDMARK_SIDE
    size = max(1, round((x1 - x0) / factor)), max(1, round((y1 - y0) / factor))
    small = _resize(picture[y0:y1, x0:x1], size)
    # INTER_AREA aligns pixel edges, warpAffine pixel centres: half a pixel of each scale.
    exact = (x1 - x0) / size[0]
    return small, exact, np.array([x0, y0]) + (exact - 1) / 2


def _resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a smaller copy, (width, height), every pixel of the original counted."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _bounds(landmarks: NDArray[np.float32]) -> Box:
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    return Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _match(faces: Sequence[Face], boxes: Sequence[Box | None]) -> list[Face]:
    """Give each speaker the face that its box names; the best pairs first, each face once."""
    pairs = sorted(
        (
            (_overlap(box, face.box), speaker, number)
            for speaker, box in enumerate(boxes)
            if box is not None
            for number, face in enumerate(faces)
            if _holds(box, face.box.center) or _holds(face.box, box.center)
        ),
        reverse=True,
    )
    taken: dict[int, int] = {}  # speaker -> face
    for _, speaker, number in pairs:
        if speaker not in taken and number not in taken.values():
            taken[speaker] = number
    for speaker, box in enumerate(boxes):
        if box is not None and speaker not in taken:
            raise _unmatched(faces, speaker, box, any(pair[1] == speaker for pair in pairs))
    left = [number for number in range(len(faces)) if number not in taken.values()]
    left.sort(key=lambda number: -faces[number].box.area)
    return [
        faces[taken[speaker] if speaker in taken else left.pop(0)] for speaker in range(len(boxes))
    ]


def _unmatched(faces: Sequence[Face], speaker: int, box: Box, rivals: bool) -> TalkheadError:
    what = "only a face that another speaker's box names" if rivals else "no face"
    return TalkheadError(
        Code.NO_FACE,
        f"the box of speaker {speaker + 1} {_shown(box)} holds {what}; {_listed(faces)} found",
        "Give each speaker a box around one face: x0, y0, x1, y1 in pixels of the portrait. "
        "A dry run shows the faces found.",
        fields=(f"speakers.{speaker}.box",),
    )


def _listed(faces: Sequence[Face]) -> str:
    boxes = ", ".join(_shown(face.box) for face in faces)
    return f"{len(faces)} face{'s' if len(faces) != 1 else ''} ({boxes}) {_was(faces)}"


def _was(faces: Sequence[Face]) -> str:
    return "was" if len(faces) == 1 else "were"


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"
