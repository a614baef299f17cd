"""The portrait as the engine will see it: its faces, its size, and what part of it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkhead.engines import Box, Face, Picture, Spec
from talkhead.media import face as faces
from talkhead.media import fit
from talkhead.media.decode import read_image
from talkhead.request import Talk
from talkhead.result import FaceFound, Notice


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The portrait as the engine will see it."""

    original: Picture | None  # as given; kept only for a picture of the faces, it may be large
    picture: Picture  # fitted to the working size
    found: tuple[Face, ...]  # all faces, in the original's pixels
    faces: tuple[Face, ...]  # one for each speaker, in the fitted picture's pixels
    bystanders: tuple[Face, ...]  # the others, in the fitted picture's pixels
    reported: tuple[FaceFound, ...]
    width: int  # of the video
    height: int
    notices: tuple[Notice, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Return the video's (width, height)."""
        return self.width, self.height


def look(request: Talk, file: Path, spec: Spec) -> View:
    """Decode the portrait, find its faces and fit it to the size at which the engine works."""
    field, _ = request.face_source
    original = read_image(file, field)
    width, height, notices = _size(request, original)
    work = fit.work_size(width, height, spec.multiple, spec.min_side, spec.max_pixels)
    if work != (width, height):
        notices.append(_scaled(spec, work, (width, height)))
    found = tuple(faces.FaceFinder().find(original)) if spec.needs_face else ()
    picked: tuple[Face, ...] = ()
    if spec.needs_face:
        boxes = [Box(*speaker.box) if speaker.box else None for speaker in request.speakers]
        picked = faces.pick_faces(found, boxes, len(boxes))
    fitted = fit.fit(original, *work, request.fit, _around(picked))
    mapped = tuple(fitted.face(face) for face in picked)
    faces.check_sizes(mapped)
    notices += _cut_faces(mapped, work)
    return View(
        original=original if request.output.faces else None,
        picture=fitted.picture,
        found=found,
        faces=mapped,
        bystanders=tuple(fitted.face(face) for face in found if _index(face, picked) is None),
        reported=tuple(_reported(face, _index(face, picked), fitted) for face in found),
        width=width,
        height=height,
        notices=tuple(notices),
    )


def _size(request: Talk, original: Picture) -> tuple[int, int, list[Notice]]:
    """Return the video's size: as asked, even, and a notice where it was odd."""
    height, width = original.shape[:2]
    asked = request.size
    if asked is None:
        return *fit.scaled_size(width, height, long=fit.DEFAULT_LONG), []
    if asked.width is None or asked.height is None:
        return *fit.scaled_size(width, height, long=asked.long, short=asked.short), []
    even = asked.width + asked.width % 2, asked.height + asked.height % 2
    if even == (asked.width, asked.height):
        return *even, []
    message = f"{asked.width}x{asked.height} is odd; the video is {even[0]}x{even[1]}"
    return *even, [Notice(code="W_SIZE", field="size", message=message)]


def _scaled(spec: Spec, work: tuple[int, int], out: tuple[int, int]) -> Notice:
    message = (
        f"{spec.name} works at {work[0]}x{work[1]}; the frames are scaled to {out[0]}x{out[1]}"
    )
    return Notice(code="W_SIZE", field="size", message=message)


def _around(picked: Sequence[Face]) -> Box | None:
    """Return the box around all picked faces."""
    if not picked:
        return None
    boxes = [face.box for face in picked]
    return Box(
        min(box.x0 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.x1 for box in boxes),
        max(box.y1 for box in boxes),
    )


def _cut_faces(mapped: Sequence[Face], work: tuple[int, int]) -> list[Notice]:
    width, height = work
    cut = [
        number
        for number, face in enumerate(mapped, 1)
        if min(face.box.x0, face.box.y0) < 0 or face.box.x1 > width or face.box.y1 > height
    ]
    if not cut:
        return []
    message = f"the picture's edge cuts face {cut[0]}; fit=face or fit=pad shows all of it"
    return [Notice(code="W_FACE_CUT", field="fit", message=message)]


def _index(face: Face, faces: Sequence[Face]) -> int | None:
    """Return where the face stands among faces; they compare by identity."""
    return next((index for index, other in enumerate(faces) if other is face), None)


def _reported(face: Face, speaker: int | None, fitted: fit.Fitted) -> FaceFound:
    x0, y0, x1, y1 = (round(side, 1) for side in face.box)
    mouth = faces.mouth_width(fitted.face(face))
    return FaceFound(box=(x0, y0, x1, y1), speaker=speaker, mouth_px=round(mouth, 1))
