"""Hostile media files, as a worker reads them: refused by name, or harmless; no other file read.

`tests/e2e/test_hostile.py` holds what a user meets by accident; this is what somebody makes.
"""

import ctypes
import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from support.harness import PORTRAITS, SPEECH
from support.media import moving, tone, write_sound, write_video
from support.web import Network, recorded
from talkhead.errors import Code, TalkheadError
from talkhead.media.decode import read_image
from talkhead.media.sound import read_sound
from talkhead.report import naming

INPUT, UNSAFE, AUDIO = Code.INPUT, Code.MEDIA, Code.AUDIO
FACE = PORTRAITS / "woman_frontal_closed.png"
SECRET = b"TOP-SECRET-4711 " * 64
Make = Callable[[Path], bytes]


def text(template: str) -> Make:
    """Return a maker of a text that names the secret file beside it."""
    return lambda folder: template.format(secret=folder / "secret.wav", name="secret.wav").encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(data, 9))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + body + chunk(b"IEND", b"")
    )


def picture(kind: str, size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (90, 120, 200)).save(out, kind, **options)
    return out.getvalue()


def sound(folder: Path, suffix: str, codec: str, seconds: float = 0.5) -> bytes:
    made = write_sound(folder / f"made.{suffix}", tone(seconds, 48_000), 48_000, codec)
    return made.read_bytes()


def film(folder: Path, suffix: str = "mp4") -> bytes:
    return write_video(folder / f"made.{suffix}", moving(5), tone(0.2, 48_000)).read_bytes()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def wav(samples: int = 0, *, rate: int = 16_000, channels: int = 1, bits: int = 16) -> bytes:
    block = channels * bits // 8
    form = struct.pack(
        "<HHIIHH", 1, channels & 0xFFFF, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits
    )
    data = bytes(samples * 2)
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def tracks(count: int) -> bytes:
    """Return an MP4 of so many tracks that hold nothing."""
    ftyp = box(b"ftyp", b"isom", bytes(4), b"isom")
    head = box(b"mvhd", bytes(12), struct.pack(">II", 1000, 1000), bytes(80))
    made = []
    for number in range(count):
        track = box(b"tkhd", bytes(12), struct.pack(">I", number + 1), bytes(68))
        media = box(b"mdhd", bytes(12), struct.pack(">II", 1000, 1000), bytes(4))
        handler = box(b"hdlr", bytes(8), b"soun", bytes(13))
        table = box(b"stbl", box(b"stsd", bytes(8)), box(b"stts", bytes(8)))
        made.append(box(b"trak", track, box(b"mdia", media, handler, box(b"minf", table))))
    return ftyp + box(b"moov", head, *made)


def patched(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """Return content with `new` at `offset` behind each place of `mark`."""
    made, at = bytearray(content), content.find(mark)
    assert at >= 0
    while at >= 0:
        made[at + offset : at + offset + len(new)] = new
        at = content.find(mark, at + 1)
    return bytes(made)


def noise(seed: int, count: int = 20_000) -> bytes:
    return random.Random(seed).randbytes(count)


def deep_exif(levels: int) -> bytes:
    """Return an EXIF block whose directories lead into each other."""
    tiff = b"II*\0" + struct.pack("<I", 8)
    for level in range(levels):
        following = 8 + 18 * ((level + 1) % levels)
        tiff += struct.pack("<HHHII", 1, 0x8769, 4, 1, following) + struct.pack("<I", following)
    return b"Exif\0\0" + tiff


def with_text(folder: Path) -> bytes:
    """Return a PNG whose comment unpacks to 64 MB."""
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(64_000_000), 9))
    return picture("PNG", pnginfo=info)


def apng(_folder: Path) -> bytes:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(0, 250, 5)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


def moving_webp(_folder: Path) -> bytes:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(0, 250, 50)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()


def huge_webp(_folder: Path) -> bytes:
    size = struct.pack("<I", 16_382)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + size + b"VP8L" + bytes(12)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge_bmp(_folder: Path) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def huge_jpeg(_folder: Path) -> bytes:
    return patched(picture("JPEG"), b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000))


# suffix, maker, the codes that may answer; None: it is read, without harm
Case = tuple[str, Make, set[Code | None]]
PLAYLISTS: dict[str, Case] = {
    "hls as mp4": ("mp4", text("#EXTM3U\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n"), {UNSAFE}),
    "hls with a key": ("wav", text('#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{secret}"'), {UNSAFE}),
    "hls behind a mark": ("mp3", text("\ufeff\n\n#EXTM3U\n{secret}\n"), {UNSAFE}),
    "hls over http": ("m4a", text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x\n"), {UNSAFE}),
    "ffconcat": ("mp4", text("ffconcat version 1.0\nfile '{secret}'\n"), {UNSAFE}),
    "ffconcat without a head": ("wav", text("file '{secret}'\n"), {UNSAFE}),
    "mpd": ("mp4", text('<?xml version="1.0"?><MPD><BaseURL>{secret}</BaseURL></MPD>'), {UNSAFE}),
    "sdp": ("wav", text("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\n"), {UNSAFE}),
    "pls": ("mp3", text("[playlist]\nFile1={secret}\n"), {UNSAFE}),
    "asx": ("avi", text('<asx version="3"><ref href="{secret}"/></asx>'), {UNSAFE}),
    "rtsp text": ("mov", text("RTSPtext\nrtsp://127.0.0.1/x\n"), {UNSAFE}),
    "a link": ("mp4", text("file://{secret}\n"), {UNSAFE}),
    "imf or xspf": ("mp4", text("<?xml version='1.0'?><playlist>{secret}</playlist>"), {UNSAFE}),
}
FOREIGN: dict[str, Case] = {
    "eps": ("png", text("%!PS-Adobe-3.0 EPSF-3.0\n({secret}) (r) file run\n"), {INPUT}),
    "svg": ("png", text('<svg><image href="file://{secret}"/></svg>'), {INPUT}),
    "mvg": ("png", text("push graphic-context\nimage over 0,0 0,0 'label:@{secret}'\n"), {INPUT}),
    "xxe": ("png", text('<!DOCTYPE a [<!ENTITY b SYSTEM "{secret}">]><svg>&b;</svg>'), {INPUT}),
    "psd": ("png", lambda _: b"8BPS\0\1" + noise(1), {INPUT}),
    "tiff": ("png", lambda _: picture("TIFF"), {INPUT}),
    "ico": ("png", lambda _: picture("ICO"), {INPUT}),
    "gif": ("png", lambda _: picture("GIF"), {INPUT}),
    "pdf": ("jpg", lambda _: b"%PDF-1.7\n" + noise(2), {INPUT}),
    "zip": ("png", lambda _: b"PK\x03\x04" + noise(3), {INPUT}),
    "gzip": ("wav", lambda _: b"\x1f\x8b\x08" + noise(4), {INPUT}),
    "elf": ("mp4", lambda _: b"\x7fELF\2\1\1" + noise(5), {INPUT}),
    "shell": ("wav", text("#!/bin/sh\ncat {secret}\n"), {INPUT}),
    "pickle": ("png", lambda _: b"\x80\x04cos\nsystem\n(S'id'\ntR.", {INPUT}),
    "html": ("png", text("<!doctype html><script>alert(1)</script>{secret}"), {INPUT}),
    "noise": ("wav", lambda _: b"\0" + noise(6), {INPUT}),
    "zeros": ("mp4", lambda _: bytes(20_000), {INPUT}),
    "nothing": ("png", lambda _: b"", {INPUT}),
}
PICTURES: dict[str, Case] = {
    "png bomb": ("png", lambda _: png(30_000, 30_000, data=bytes(1_000_000)), {UNSAFE}),
    "png of all bits": ("png", lambda _: png(2**31 - 1, 2**31 - 1), {UNSAFE, INPUT}),
    "png of no size": ("png", lambda _: png(0, 0), {INPUT}),
    "png of a line": ("png", lambda _: png(1, 1_000_000), {INPUT}),
    "png cut": ("png", lambda _: half(FACE.read_bytes()), {INPUT}),
    "png of noise": ("png", lambda _: b"\x89PNG\r\n\x1a\n" + noise(7), {INPUT}),
    "png with a text bomb": ("png", with_text, {INPUT, UNSAFE, None}),
    "png that moves": ("png", apng, {INPUT}),
    "png with a false profile": (
        "png",
        lambda _: picture("PNG", icc_profile=noise(8, 4000)),
        {None},
    ),
    "webp bomb": ("webp", huge_webp, {UNSAFE, INPUT}),
    "webp that moves": ("webp", moving_webp, {INPUT}),
    "webp cut": ("webp", lambda _: half(picture("WEBP", (300, 300))), {INPUT}),
    "bmp bomb": ("bmp", huge_bmp, {UNSAFE}),
    "jpeg bomb": ("jpg", huge_jpeg, {UNSAFE}),
    "jpeg of noise": ("jpg", lambda _: b"\xff\xd8\xff\xe0" + noise(9), {INPUT}),
    "jpeg with deep exif": ("jpg", lambda _: picture("JPEG", exif=deep_exif(900)), {None, INPUT}),
    "jpeg with false exif": (
        "jpg",
        lambda _: picture("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + noise(10, 500)),
        {None, INPUT},
    ),
    "jpeg and zip": ("jpg", lambda _: picture("JPEG") + b"PK\x03\x04" + noise(11), {None}),
    "avif of noise": ("avif", lambda _: box(b"ftyp", b"avif", bytes(4)) + noise(12), {INPUT}),
    "heic": ("heic", lambda _: box(b"ftyp", b"heic", bytes(4)) + noise(13), {INPUT}),
    "gif bomb": ("gif", lambda _: b"GIF89a\xff\xff\xff\xff\xf7\0\0" + noise(14), {INPUT}),
    "a film": ("png", film, {INPUT}),
}
SOUNDS: dict[str, Case] = {
    "wav without samples": ("wav", lambda _: wav(), {AUDIO, INPUT}),
    "wav without a rate": ("wav", lambda _: wav(100, rate=0), {AUDIO, INPUT}),
    "wav of 65535 channels": ("wav", lambda _: wav(99, channels=65_535), {AUDIO, INPUT}),
    "wav of no channels": ("wav", lambda _: wav(100, channels=0), {AUDIO, INPUT}),
    "wav of no bits": ("wav", lambda _: wav(100, bits=0), {AUDIO, INPUT}),
    "wav of 4 GHz": ("wav", lambda _: wav(100, rate=2**32 - 1), {AUDIO, INPUT, None}),
    "wav of noise": ("wav", lambda _: b"RIFF\xff\xff\xff\xffWAVE" + noise(15), {AUDIO, INPUT}),
    "wav of NaN": (
        "wav",
        lambda d: write_sound(
            d / "a.wav", np.full((1, 9600), np.nan, np.float32), 48_000, "pcm_f32le"
        ).read_bytes(),
        {AUDIO, INPUT, None},
    ),
    "flac cut": ("flac", lambda d: sound(d, "flac", "flac")[:60], {AUDIO, INPUT}),
    "flac of noise": ("flac", lambda _: b"fLaC" + noise(16), {AUDIO, INPUT}),
    "mp3 of noise": ("mp3", lambda _: b"\xff\xfb\x90\x64" + noise(17), {AUDIO, INPUT, None}),
    "mp3 behind a huge tag": (
        "mp3",
        lambda _: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + noise(18),
        {AUDIO, INPUT},
    ),
    "aac of noise": ("aac", lambda _: b"\xff\xf1\x50\x80" + noise(19), {AUDIO, INPUT, None}),
    "ogg of noise": ("ogg", lambda _: b"OggS\0\2" + noise(20), {AUDIO, INPUT}),
    "ogg cut": ("ogg", lambda d: sound(d, "ogg", "libopus")[:40], {AUDIO, INPUT}),
    "m4a cut": ("m4a", lambda d: half(sound(d, "m4a", "aac")), {AUDIO, INPUT}),
    "mp4 of noise": ("mp4", lambda _: box(b"ftyp", b"isom", bytes(4)) + noise(21), {AUDIO, INPUT}),
    "mp4 of no tracks": ("mp4", lambda _: tracks(0), {AUDIO, INPUT}),
    "mp4 of 2000 tracks": ("mp4", lambda _: tracks(2000), {AUDIO, INPUT}),
    "mp4 of boxes in boxes": (
        "mp4",
        lambda _: box(b"ftyp", b"isom", bytes(4)) + (struct.pack(">I", 8008) + b"moov") * 1000,
        {AUDIO, INPUT},
    ),
    "mp4 with a negative length": (
        "mp4",
        lambda d: patched(film(d), b"mdhd", 20, b"\xff\xff\xff\x00"),
        {AUDIO, INPUT, None},
    ),
    "mp4 without a time base": (
        "mp4",
        lambda d: patched(film(d), b"mdhd", 16, bytes(4)),
        {AUDIO, INPUT, None},
    ),
    "mp4 with wild sizes": (
        "mp4",
        lambda d: patched(film(d), b"stsz", 12, b"\x7f\xff\xff\xff"),
        {AUDIO, INPUT, None},
    ),
    "mov with a data reference": (
        "mov",
        lambda d: patched(
            patched(film(d, "mov"), b"url \0\0\0\1", 4, bytes(4)), b"url \0\0\0\0", 0, b"alis"
        ),
        {AUDIO, INPUT, None},
    ),
    "mkv of noise": ("mkv", lambda _: b"\x1aE\xdf\xa3" + noise(22), {AUDIO, INPUT}),
    "mkv cut": ("mkv", lambda d: film(d, "mkv")[:200], {AUDIO, INPUT}),
    "avi of noise": ("avi", lambda _: b"RIFF\0\0\0\0AVI " + noise(23), {AUDIO, INPUT}),
    "avi cut": ("avi", lambda d: film(d, "avi")[:300], {AUDIO, INPUT}),
    "mp4 and html": ("mp4", lambda d: film(d) + b"<script>alert(1)</script>", {None}),
    "a picture": ("wav", lambda _: picture("PNG"), {INPUT}),
}
CORPUS = {
    f"{group}: {name}": (group, case)
    for group, cases in {
        "playlist": PLAYLISTS,
        "foreign": FOREIGN,
        "picture": PICTURES,
        "sound": SOUNDS,
    }.items()
    for name, case in cases.items()
}
LIBC = ctypes.CDLL(None, use_errno=True)
IN_OPEN = 0x20


class Watch:
    """Notices whoever opens a file, native code too."""

    def __init__(self, path: Path) -> None:
        self._fd = LIBC.inotify_init1(os.O_NONBLOCK)
        assert LIBC.inotify_add_watch(self._fd, os.fsencode(path), IN_OPEN) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with recorded(monkeypatch) as seen:
        yield seen


def read(path: Path, *, image: bool) -> bytes:
    """Return all of what a file shows or says."""
    with naming(None):
        if image:
            return read_image(path, "portrait").tobytes()
        blocks = list(read_sound(path, "speakers.0.audio"))
        if not blocks:
            raise TalkheadError(AUDIO, "no sound", "give another")
        return b"".join(np.asarray(block.samples).tobytes() for block in blocks)


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 80


@pytest.mark.parametrize("case", CORPUS)
def test_it_is_refused_or_harmless(case: str, tmp_path: Path, network: Network) -> None:
    group, (suffix, make, allowed) = CORPUS[case]
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SECRET)
    path = tmp_path / f"hostile.{suffix}"
    path.write_bytes(make(tmp_path))
    readers = {"picture": (True,), "sound": (False,)}.get(group, (True, False))
    watch = Watch(secret)
    for image in readers:
        code: Code | None = None
        try:
            shown = read(path, image=image)
            assert SECRET[:15] not in shown
            assert len(shown) < 200_000_000
        except TalkheadError as error:
            code = error.code
            assert "4711" not in error.message
            assert error.hint
            assert error.fields
        assert code in allowed, code
    assert not watch.opened()
    watch.close()
    assert network.connected == []
    assert network.resolved == []


def test_the_watch_sees_what_libav_opens(tmp_path: Path) -> None:
    """The same playlist, given to libav without us: the watch is no empty check."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SECRET)
    path = tmp_path / "list.mp4"
    path.write_bytes(f"ffconcat version 1.0\nfile '{secret}'\n".encode())
    watch = Watch(secret)
    with pytest.raises(av.FFmpegError):
        av.open(str(path), format="concat", options={"safe": "0"})
    assert watch.opened()
    watch.close()


@pytest.mark.parametrize("image", [True, False])
def test_links_that_go_in_circles(tmp_path: Path, image: bool) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(TalkheadError) as caught:
        read(one, image=image)
    assert caught.value.code is INPUT


def test_every_container_bears_damage_anywhere(tmp_path: Path) -> None:
    """Bytes turned over in real files: each is read or refused by name, never E_INTERNAL."""
    dice = random.Random(5)
    sources = {
        "wav": sound(tmp_path, "wav", "pcm_s16le", 0.2),
        "flac": sound(tmp_path, "flac", "flac", 0.2),
        "mp3": sound(tmp_path, "mp3", "libmp3lame", 0.2),
        "ogg": sound(tmp_path, "ogg", "libopus", 0.2),
        "m4a": sound(tmp_path, "m4a", "aac", 0.2),
        "mp4": film(tmp_path),
        "mkv": film(tmp_path, "mkv"),
        "avi": film(tmp_path, "avi"),
        "png": picture("PNG"),
        "jpg": picture("JPEG"),
        "webp": picture("WEBP"),
        "bmp": picture("BMP"),
    }
    for suffix, content in sources.items():
        for _ in range(12):
            damaged = bytearray(content)
            for _ in range(dice.randint(1, 30)):
                damaged[dice.randrange(min(len(damaged), 2000))] = dice.randrange(256)
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(damaged)
            try:
                read(path, image=suffix in {"png", "jpg", "webp", "bmp"})
            except TalkheadError as error:
                assert error.code in {INPUT, UNSAFE, AUDIO}, (suffix, error.message)


def test_the_good_ones_are_good(tmp_path: Path) -> None:
    """What the corpus is made from is read, so that a refusal means what was done to it."""
    assert read(FACE, image=True)
    assert read(SPEECH / "librivox_0890.flac", image=False)
    path = tmp_path / "good.mp4"
    path.write_bytes(film(tmp_path))
    assert read(path, image=False)
