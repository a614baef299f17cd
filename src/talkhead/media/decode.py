"""Portraits from files: upright, sRGB, 8 bits, without transparency."""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from talkhead.engines import Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media.sniff import GIF, HEIC, TIFF, Kind, bad_input, sniff

MAX_PIXELS = 32_000_000
MIN_SIDE = 32
STRIP = 2**20  # pixels converted at once
BACKGROUND = (255, 255, 255)  # shows through where a picture is transparent, as on a web page

SIDEWAYS = {5, 6, 7, 8}  # values of the EXIF orientation that swap width and height
ORIENTATION = 0x0112

# What Pillow's readers raise for damaged files; its AVIF reader has no better than RuntimeError
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)

EXPORT = {
    GIF: "save one frame of it as PNG",
    HEIC: "export it as JPEG: on an iPhone set Camera > Formats > Most Compatible, "
    "on a Mac use Preview > File > Export",
    TIFF: "save it as PNG or JPEG",
}


def read_image(path: Path, field: str = "") -> Picture:
    """Return a portrait as RGB uint8 (height, width, 3), turned upright and converted to sRGB.

    Transparent parts show white. Raises E_INPUT_VALIDATION for what is no still picture or damaged,
    and E_MEDIA_UNSAFE, before decoding anything, for more than 32 megapixels.
    """
    with _opened(path, field) as image:
        orientation = int(image.getexif().get(ORIENTATION, 1))
        profile = image.info.get("icc_profile")
        picture = _converted(image, profile)
    return np.ascontiguousarray(_upright(picture, orientation))


def probe_image(path: Path, field: str = "") -> tuple[int, int]:
    """Return a portrait's (width, height) once upright, without decoding it."""
    with _opened(path, field) as image:
        width, height = image.size
        sideways = int(image.getexif().get(ORIENTATION, 1)) in SIDEWAYS
    return (height, width) if sideways else (width, height)


@contextmanager
def _opened(path: Path, field: str) -> Iterator[Image.Image]:
    kind = sniff(path, field)
    if kind.family != "image":
        hint = "give a picture"
        if kind.family == "video":
            hint = "save one frame of it as PNG, or give it as `source` to an engine for videos"
        raise bad_input(field, f"{path.name} is {kind.name} {kind.family}, not a picture", hint)
    if kind in EXPORT:
        raise bad_input(field, f"{kind.name} is not read: {path.name}", EXPORT[kind])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which does not matter here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=(kind.reader,)) as image:
                _check(image, path, field)
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        pixels = re.search(r"\d+", str(error))  # Pillow tells the size in words only
        raise _too_large(path, field, int(pixels[0]) if pixels else 0) from error
    except DAMAGE as error:
        raise _damaged(path, field, kind, error) from error


def _check(image: Image.Image, path: Path, field: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, field, width * height)
    if min(width, height) < MIN_SIDE:
        raise bad_input(
            field,
            f"{path.name} is {width}x{height}, too small for a portrait",
            "use a picture of at least 256 pixels a side",
        )
    if getattr(image, "is_animated", False):
        raise bad_input(field, f"{path.name} is animated", "save one frame of it as PNG")


def _too_large(path: Path, field: str, pixels: int) -> TalkheadError:
    return bad_input(
        field,
        f"{path.name} has {pixels / 1e6:.0f} megapixels",
        f"scale it to at most {MAX_PIXELS // 1_000_000} megapixels",
        Code.MEDIA,
    )


def _damaged(path: Path, field: str, kind: Kind, error: Exception) -> TalkheadError:
    return bad_input(
        field,
        f"{path.name} is a damaged or incomplete {kind.name} ({error})",
        "download or export it again; an interrupted transfer cuts files off",
    )


def _converted(image: Image.Image, profile: bytes | None) -> Picture:
    """Convert a picture a strip of rows at a time: large ones fit in memory once, not thrice."""
    width, height = image.size
    image.load()
    out = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        out[top : top + rows] = np.asarray(_rgb(strip, profile))
    return out


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in RGB, its colours managed, composed on the background."""
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion clips at 255
        values = np.asarray(image)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = _composed(image.convert("RGBA"))
    if profile and image.mode in {"RGB", "L", "CMYK"}:
        return _managed(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _composed(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    background.alpha_composite(image)
    return background.convert("RGB")


def _managed(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB; a profile that cannot be read, or is for another mode, says nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted or image.convert("RGB")


def _upright(picture: Picture, orientation: int) -> Picture:
    """Apply an EXIF orientation, 1 to 8; turning arrays needs no second copy of the picture."""
    if orientation in SIDEWAYS:
        picture = picture.transpose(1, 0, 2)
    if orientation in {2, 3, 7, 6}:
        picture = picture[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        picture = picture[::-1]
    return picture
