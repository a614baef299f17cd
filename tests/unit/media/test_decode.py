import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from support.media import moving, write_video
from talkhead.engines import Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media.decode import probe_image, read_image

WIDTH, HEIGHT = 96, 64


@pytest.fixture(scope="module")
def photo() -> Picture:
    """Return a smooth picture with a colour of its own in each corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / [[[HEIGHT]], [[WIDTH]]]
    return np.stack([255 * x, 255 * y, 200 * (1 - x)], -1).astype(np.uint8)


def _near(one: Picture, other: Picture, levels: float) -> None:
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other.astype(int)).mean() <= levels


def _refused(path: Path, code: Code = Code.INPUT) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        read_image(path, "portrait")
    assert caught.value.code == code
    assert caught.value.fields == ("portrait",)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("name", "levels", "options"),
    [
        ("PNG", 0, {}),
        ("BMP", 0, {}),
        ("WEBP", 0, {"lossless": True}),
        ("JPEG", 2, {"quality": 95}),
        ("JPEG", 2, {"quality": 95, "progressive": True}),
        ("AVIF", 3, {"quality": 95}),
    ],
)
def test_formats(
    tmp_path: Path, photo: Picture, name: str, levels: float, options: dict[str, object]
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.gif", name, **options)
    read = read_image(tmp_path / "a.gif")
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    _near(read, photo, levels)
    assert probe_image(tmp_path / "a.gif") == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_upright(tmp_path: Path, photo: Picture, orientation: int) -> None:
    stored = {
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo),
        7: photo.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(photo, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), photo)
    assert probe_image(tmp_path / "a.png") == (WIDTH, HEIGHT)


def test_transparency_shows_white(tmp_path: Path, photo: Picture) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    alpha[:, WIDTH // 2 : WIDTH // 2 + 8] = 128
    image = Image.fromarray(np.dstack([photo, alpha]))
    for name, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        image.save(tmp_path / "a", name, **options)
        read = read_image(tmp_path / "a").astype(int)
        np.testing.assert_array_equal(read[:, : WIDTH // 2], photo[:, : WIDTH // 2])
        half = read[:, WIDTH // 2 + 4]
        assert np.abs(half - (photo[:, WIDTH // 2 + 4].astype(int) + 255) / 2).max() <= 1.5
        assert (read[:, WIDTH // 2 + 8 :] == 255).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (64, 64), 0)
    image.putpalette([10, 200, 30, 250, 0, 0] + [0] * 762)
    image.paste(1, (32, 0, 64, 64))
    image.save(tmp_path / "a.png", transparency=1)
    read = read_image(tmp_path / "a.png")
    assert tuple(read[0, 0]) == (10, 200, 30)
    assert tuple(read[0, 63]) == (255, 255, 255)


def test_grey_with_transparency_and_one_bit(tmp_path: Path) -> None:
    grey = Image.new("LA", (64, 64), (90, 0))
    grey.paste((90, 255), (0, 0, 32, 64))
    grey.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, [0, 63]].tolist() == [[90] * 3, [255] * 3]
    Image.new("1", (64, 64), 1).save(tmp_path / "b.png")
    assert (read_image(tmp_path / "b.png") == 255).all()


def _png(rows: np.ndarray, depth: int, colour: int) -> bytes:
    """Write a PNG by hand, for depths that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = rows.shape[:2]
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_scaled(tmp_path: Path, colour: int, channels: int) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    rows = np.repeat(np.tile(ramp, (64, 1))[..., None], channels, 2)
    if colour in (4, 6):
        rows[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(_png(rows, 16, colour))
    read = read_image(tmp_path / "a.png")
    expected = np.repeat((ramp / 257)[:, None], 3, 1)
    assert np.abs(read[32].astype(float) - expected).max() <= 1


def test_cmyk(tmp_path: Path, photo: Picture) -> None:
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    _near(read_image(tmp_path / "a.jpg"), photo, 4)


def test_profiles_become_srgb(tmp_path: Path) -> None:
    """A Display-P3-like profile is simulated by swapping red and green of sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    plain = Image.new("RGB", (64, 64), (220, 60, 20))
    plain.save(tmp_path / "srgb.png", icc_profile=bytes(profile))
    _near(read_image(tmp_path / "srgb.png"), np.asarray(plain), 1)
    red, green = profile.find(b"rXYZ"), profile.find(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    for name in ("swapped.png", "swapped.jpg", "swapped.webp"):
        plain.save(tmp_path / name, icc_profile=bytes(profile))
        red_level, green_level, _ = read_image(tmp_path / name)[32, 32]
        assert abs(int(red_level) - 60) < 12, name
        assert abs(int(green_level) - 220) < 12, name


def test_profiles_that_make_no_sense_say_nothing(tmp_path: Path) -> None:
    plain = Image.new("RGB", (64, 64), (220, 60, 20))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for number, profile in enumerate((b"nonsense", lab)):
        plain.save(tmp_path / f"{number}.png", icc_profile=profile)
        np.testing.assert_array_equal(read_image(tmp_path / f"{number}.png"), np.asarray(plain))


def _empty_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("width", "height", "megapixels"),
    [(20_000, 20_000, "400"), (10_000, 10_000, "100"), (6_000, 6_000, "36")],
)
def test_too_many_pixels_are_refused_before_decoding(
    tmp_path: Path, width: int, height: int, megapixels: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_empty_png(width, height))  # decoding it would fail otherwise
    error = _refused(path, Code.MEDIA)
    assert f"{megapixels} megapixels" in error.message
    assert "32 megapixels" in error.hint


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_what_is_cut_off_is_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, name)
    path = tmp_path / "a"
    path.write_bytes(out.getvalue()[: int(share * len(out.getvalue()))])
    assert "damaged or incomplete" in _refused(path).message


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_what_moves_is_refused(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", name, save_all=True, append_images=frames[1:])
    assert "one frame" in _refused(tmp_path / "a.png").hint


def test_formats_that_are_not_read_say_how_to_export(tmp_path: Path) -> None:
    heic = (24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic"
    (tmp_path / "a.jpg").write_bytes(heic + bytes(99))
    assert "JPEG" in _refused(tmp_path / "a.jpg").hint
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png", "TIFF")
    assert "PNG" in _refused(tmp_path / "b.png").hint


def test_a_video_and_a_dot_are_no_portraits(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving(3))
    assert "one frame" in _refused(tmp_path / "a.mp4").hint
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert "too small" in _refused(tmp_path / "dot.png").message


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, photo: Picture) -> None:
    """Flip bytes of every format: a picture comes out, or an error of ours."""
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("PNG", "JPEG", "WEBP", "BMP", "AVIF"):
        out = io.BytesIO()
        Image.fromarray(photo).save(out, name, **({} if name == "BMP" else {"exif": exif}))
        for _ in range(60):
            content = bytearray(out.getvalue())
            for at in rng.integers(12, min(len(content), 400), 4):
                content[at] = rng.integers(256)
            (tmp_path / "a").write_bytes(content)
            try:
                assert read_image(tmp_path / "a").shape[2] == 3
            except TalkheadError as error:
                assert error.hint


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_picture_at_the_limit_stays_small_in_memory(tmp_path: Path) -> None:
    Image.new("RGB", (7990, 4000), (90, 120, 60)).save(tmp_path / "a.jpg", exif=_turned())
    script = (
        "import sys; from pathlib import Path\n"
        "from talkhead.media.decode import read_image\n"
        "assert read_image(Path(sys.argv[1])).shape == (7990, 4000, 3)\n"
        # not ru_maxrss, which a child inherits from the process that started it
        "status = Path('/proc/self/status').read_text().split()\n"
        "print(int(status[status.index('VmHWM:') + 1]) // 1024)"
    )
    run = [sys.executable, "-c", script, str(tmp_path / "a.jpg")]
    peak = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert peak < 400, f"{peak} MB"


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
