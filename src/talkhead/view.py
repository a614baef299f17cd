"""The portrait as the engine will see it: its faces, its size, and what part of it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from talkhead.engines import Box, Face, Picture, Spec, choose_bucket
from talkhead.errors import Code, TalkheadError
from talkhead.media import face as faces
from talkhead.media import fit
from talkhead.media.clip import ClipFacts, first_picture, probe_clip
from talkhead.media.decode import read_image
from talkhead.media.sniff import bad_input, sniff
from talkhead.request import Talk
from talkhead.result import FaceFound, Notice


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The portrait, or the first picture of a video, as the engine will see it."""

    original: Picture | None  # as given; kept only for a picture of the faces, it may be large
    fitted: fit.Fitted  # at the working size
    clip: ClipFacts | None  # of a video; None for a still
    found: tuple[Face, ...]  # all faces, in the original's pixels
    faces: tuple[Face, ...]  # one for each speaker, in the fitted picture's pixels
    bystanders: tuple[Face, ...]  # the others, in the fitted picture's pixels
    boxes: tuple[Box | None, ...]  # as asked for, fitted; none where the engine takes faces
    reported: tuple[FaceFound, ...]
    width: int  # of the video
    height: int
    notices: tuple[Notice, ...]

    @property
    def picture(self) -> Picture:
        """Return the picture at the working size."""
        return self.fitted.picture

    @property
    def size(self) -> tuple[int, int]:
        """Return the video's (width, height)."""
        return self.width, self.height


def look(request: Talk, file: Path, spec: Spec) -> View:
    """Decode the portrait, find its faces and fit it to the size at which the engine works.

    Of a video this is done with its first picture; the others are shown in the same way.
    """
    field, _ = request.face_source
    clip = _clip(field, file, spec)
    original = first_picture(file, field) if clip else read_image(file, field)
    width, height, notices = _size(request, original, spec)
    work = fit.work_size(width, height, spec.multiple, spec.min_side, spec.max_pixels)
    if work != (width, height):
        notices.append(_scaled(spec, work, (width, height)))
    boxes = [] if spec.needs_face else _asked_boxes(request, original)
    found, picked = _faces(request, original, spec)
    given = [box for box in boxes if box]
    around = _around(given or [face.box for face in picked])
    fitted = fit.fit(original, *work, request.fit, around)
    shown = picked if spec.needs_face else ()
    mapped = tuple(fitted.face(face) for face in shown)
    faces.check_sizes(mapped)
    notices += _cut_faces(mapped, work)
    rest = [face for face in found if spec.needs_face and _index(face, picked) is None]
    return View(
        original=original if request.output.faces else None,
        fitted=fitted,
        clip=clip,
        found=found,
        faces=mapped,
        bystanders=tuple(fitted.face(face) for face in rest),
        boxes=_fitted_boxes(request, boxes, fitted),
        reported=tuple(_reported(face, _index(face, shown), fitted) for face in found),
        width=width,
        height=height,
        notices=tuple(notices),
    )


def unsupported(spec: Spec, field: str, message: str) -> TalkheadError:
    """Return the error for what an engine cannot do, naming the request's field."""
    return TalkheadError(
        Code.UNSUPPORTED,
        f"{field}: the {spec.name} engine {message}",
        "see `talkhead doctor` for what is installed",
        fields=[field],
    )


def _clip(field: str, file: Path, spec: Spec) -> ClipFacts | None:
    """Return the facts of a video, or None for what has to be a still; the file decides."""
    kind = sniff(file, field)
    if field == "video" and kind.family != "video":
        raise bad_input(
            field,
            f"{file.name} is {kind.name} {kind.family}, not a video",
            "give a picture as `portrait`, or as `source`, which takes both",
        )
    if field == "portrait" or kind.family != "video":
        return None
    if not spec.accepts_video:
        raise unsupported(spec, field, "takes a still portrait, not a video")
    return probe_clip(file, field)


def _faces(
    request: Talk, original: Picture, spec: Spec
) -> tuple[tuple[Face, ...], tuple[Face, ...]]:
    """Return all faces and those of the speakers; none where nothing asks for any."""
    boxes = [Box(*speaker.box) if speaker.box else None for speaker in request.speakers]
    close = request.fit == "face" and not any(boxes)
    if not (spec.needs_face or close or request.output.faces):
        return (), ()
    found = tuple(faces.FaceFinder().find(original))
    if spec.needs_face:
        return found, faces.pick_faces(found, boxes, len(boxes))
    if close:  # as many as there are: this engine can do without
        return found, faces.pick_faces(found, None, max(1, min(len(found), len(boxes))))
    return found, ()


def _asked_boxes(request: Talk, original: Picture) -> list[Box | None]:
    """Return what of the speakers' boxes lies in the picture; raises E_INPUT_VALIDATION if none."""
    height, width = original.shape[:2]
    found: list[Box | None] = []
    for index, speaker in enumerate(request.speakers):
        box = _inside(Box(*speaker.box), width, height) if speaker.box else None
        if box is not None and not box.area:
            raise bad_input(
                f"speakers.{index}.box",
                f"{_listed(speaker.box)} lies outside the picture of {width}x{height}",
                "give x0, y0, x1, y1 in pixels of the portrait as it was sent",
            )
        found.append(box)
    return found


def _fitted_boxes(
    request: Talk, boxes: Sequence[Box | None], fitted: fit.Fitted
) -> tuple[Box | None, ...]:
    """Return where the boxes are seen, cut at the edges; raises E_INPUT_VALIDATION for nowhere."""
    height, width = fitted.picture.shape[:2]
    seen = [_inside(fitted.box(box), width, height) if box else None for box in boxes]
    for index, box in enumerate(seen):
        if box is not None and not box.area:
            raise bad_input(
                f"speakers.{index}.box",
                f"{_listed(request.speakers[index].box)} lies outside what is shown",
                "use fit=pad, which shows the whole picture, or a size of its own aspect",
            )
    return tuple(seen)


def _inside(box: Box, width: int, height: int) -> Box:
    """Return the part of a box that lies in a picture; its area is 0 where there is none."""
    return Box(max(box.x0, 0.0), max(box.y0, 0.0), min(box.x1, width), min(box.y1, height))


def _listed(sides: Sequence[float] | None) -> str:
    return "[" + ", ".join(f"{side:g}" for side in sides or ()) + "]"


def _size(request: Talk, original: Picture, spec: Spec) -> tuple[int, int, list[Notice]]:
    """Return the video's size: as asked or as the engine was trained, even; a notice where odd."""
    height, width = original.shape[:2]
    asked = request.size
    preset = min(spec.buckets, default=None) if asked is None else asked.short
    if preset is not None and preset in spec.buckets:
        bucket = choose_bucket(height, width, spec.buckets[preset])
        return *_even(bucket.width, bucket.height), []
    if asked is None:
        return *fit.scaled_size(width, height, long=fit.DEFAULT_LONG), []
    if asked.width is None or asked.height is None:
        return *fit.scaled_size(width, height, long=asked.long, short=asked.short), []
    even = _even(asked.width, asked.height)
    if even == (asked.width, asked.height):
        return *even, []
    message = f"{asked.width}x{asked.height} is odd; the video is {even[0]}x{even[1]}"
    return *even, [Notice(code="W_SIZE", field="size", message=message)]


def _even(width: int, height: int) -> tuple[int, int]:
    return width + width % 2, height + height % 2


def _scaled(spec: Spec, work: tuple[int, int], out: tuple[int, int]) -> Notice:
    message = (
        f"{spec.name} works at {work[0]}x{work[1]}; the frames are scaled to {out[0]}x{out[1]}"
    )
    return Notice(code="W_SIZE", field="size", message=message)


def _around(boxes: Sequence[Box]) -> Box | None:
    """Return the box around all boxes."""
    if not boxes:
        return None
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
