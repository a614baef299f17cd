"""Contact sheets of the draft engine: portraits by mouth shapes, zoomed on the mouth, and blinks.

    python benchmarks/render_sheet.py OUT PORTRAIT... [--size 1280x720] [--zoom mouth]

Zooms are mouth, eyes, face and whole. Writes OUT/sheet_<zoom>.png and prints render times.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from talkhead.engines import Face, Picture
from talkhead.engines.draft.pose import Head, Mouth, Pose
from talkhead.engines.draft.render import Renderer
from talkhead.media.face import FaceFinder, mouth_width

SHAPES = {
    "rest": Pose(),
    "M": Pose(Mouth(press=1)),
    "AA": Pose(Mouth(0.33)),
    "AE": Pose(Mouth(0.31, 0.4)),
    "EH": Pose(Mouth(0.2, 0.25)),
    "IY": Pose(Mouth(0.12, 0.65)),
    "UW": Pose(Mouth(0.09, -0.85)),
    "OW": Pose(Mouth(0.22, -0.5)),
    "FV": Pose(Mouth(0.025, bite=1)),
    "L": Pose(Mouth(0.15, tongue=1)),
    "S": Pose(Mouth(0.075, 0.35)),
    "half": Pose(blink=0.5),
    "blink": Pose(blink=1),
    "head": Pose(Mouth(0.15), 0, Head(0.02, 0.012, 0.008, 0.008, 0.036, 0.02)),
}
BLINKS = {f"blink {blink}": Pose(blink=blink) for blink in (0.0, 0.25, 0.5, 0.75, 1.0)}
TILE = 220


def load(path: Path, size: str | None) -> Picture:
    picture = Image.open(path).convert("RGB")
    if size:
        width, height = map(int, size.split("x"))
        scale = min(width / picture.width, height / picture.height)
        fitted = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        picture = Image.new("RGB", (width, height))
        picture.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return np.asarray(picture)


def window(face: Face, shape: str, zoom: str, picture: Picture) -> tuple[float, float, float]:
    """Return centre and side of the square to show."""
    points = face.landmarks[:, :2]
    if zoom == "whole":
        return picture.shape[1] / 2, picture.shape[0] / 2, max(picture.shape[:2])
    if "blink" in shape or shape == "half":
        x, y = points[[33, 263]].mean(axis=0)
        return x, y, 1.35 * float(np.linalg.norm(points[33] - points[263]))
    if zoom == "face" or shape == "head":
        return *face.box.center, 1.5 * face.box.height
    x, y = points[[13, 14, 152]].mean(axis=0)
    return x, y, 2.0 * max(mouth_width(face), 0.4 * face.box.width)


def tile(frame: Picture, view: tuple[float, float, float], label: str) -> Picture:
    x, y, side = view
    scale = TILE / side
    affine = np.array([[scale, 0, TILE / 2 - x * scale], [0, scale, TILE / 2 - y * scale]])
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    shown = np.ascontiguousarray(cv2.warpAffine(frame, affine, (TILE, TILE), flags=flags))
    cv2.putText(shown, label, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 0), 1)
    return np.asarray(shown, np.uint8)


def rows(path: Path, finder: FaceFinder, args: argparse.Namespace) -> list[Picture]:
    picture = load(path, args.size)
    faces = finder.find(picture)
    renderer = Renderer(picture, faces, seed=0)
    sheet, spent = [], []
    frames = {}
    for name, pose in (BLINKS if args.zoom == "eyes" else SHAPES).items():
        start = time.perf_counter()
        frames[name] = renderer.frame([pose] * len(faces))
        spent.append(time.perf_counter() - start)
    for face in faces:
        tiles = [
            tile(frame, window(face, name, args.zoom, picture), name)
            for name, frame in frames.items()
        ]
        sheet.append(np.hstack(tiles))
    widths = ", ".join(f"{mouth_width(face):.0f}" for face in faces)
    print(
        f"{path.stem:28s} {picture.shape[1]}x{picture.shape[0]} mouths {widths} px: "
        f"median {np.median(spent) * 1000:.1f} ms, most {max(spent) * 1000:.1f} ms"
    )
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--size")
    parser.add_argument("--zoom", choices=["mouth", "eyes", "face", "whole"], default="mouth")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    finder = FaceFinder()
    sheet = np.vstack([row for path in args.portraits for row in rows(path, finder, args)])
    Image.fromarray(sheet).save(args.out / f"sheet_{args.zoom}.png")


if __name__ == "__main__":
    main()
