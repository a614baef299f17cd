"""Bad input: its own code, a message that says what to do, and nothing left behind."""

import io
import os
import struct
import subprocess
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from support.harness import PORTRAITS, SPEECH, Cli, read_sound, write_wav

PORTRAIT = "library:astronaut.png"
GOOD = SPEECH / "librivox_0890.flac"
Maker = Callable[[Path], Path]


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def huge_png(folder: Path) -> Path:
    """Write a PNG that says 20,000 x 20,000 and would need 1.2 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(20_000 * 3 + 1) * 10)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
    return written(folder / "huge.png", content + chunk(b"IEND", b""))


def truncated_jpeg(folder: Path) -> Path:
    out = io.BytesIO()
    Image.open(PORTRAITS / "woman_frontal_closed.png").convert("RGB").save(out, "JPEG")
    return written(folder / "cut.jpg", out.getvalue()[: len(out.getvalue()) // 3])


def animated_gif(folder: Path) -> Path:
    frames = [Image.new("RGB", (300, 300), (shade, 0, 0)) for shade in (0, 100, 200)]
    return saved(frames[0], folder / "moving.gif", save_all=True, append_images=frames[1:])


def small_face(folder: Path) -> Path:
    canvas = Image.new("RGB", (1280, 1280), (120, 130, 140))
    portrait = Image.open(PORTRAITS / "woman_frontal_closed.png").convert("RGB")
    canvas.paste(portrait.resize((200, 200)), (400, 400))
    return saved(canvas, folder / "small.png")


def secret_playlist(name: str, template: str) -> Maker:
    def make(folder: Path) -> Path:
        secret = folder / "secret.wav"
        secret.write_bytes(GOOD.read_bytes())
        return written(folder / name, template.format(path=secret, name=secret.name).encode())

    return make


def silent_video(folder: Path) -> Path:
    path = folder / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


PICTURES: dict[str, tuple[Maker, str, str]] = {
    "no face": (
        lambda d: saved(Image.new("RGB", (600, 600), (90, 120, 200)), d / "sky.png"),
        "E_NO_FACE",
        "no face",
    ),
    "face too small": (small_face, "E_NO_FACE", "small"),
    "text file": (
        lambda d: written(d / "a.png", b"hello, I am no picture\n" * 50),
        "E_INPUT_VALIDATION",
        "portrait",
    ),
    "web page": (
        lambda d: written(d / "a.jpg", b"<!DOCTYPE html><html><body>404</body></html>"),
        "E_INPUT_VALIDATION",
        "HTML",
    ),
    "truncated": (truncated_jpeg, "E_INPUT_VALIDATION", "cut"),
    "400 megapixels": (huge_png, "E_MEDIA_UNSAFE", "400"),
    "animation": (animated_gif, "E_INPUT_VALIDATION", "GIF"),
    "empty": (lambda d: written(d / "empty.png", b""), "E_INPUT_VALIDATION", "empty"),
    "folder": (lambda d: d, "E_INPUT_VALIDATION", "folder"),
    "missing": (lambda d: d / "missing.png", "E_INPUT_VALIDATION", "no such file"),
    "a sound": (lambda d: GOOD, "E_INPUT_VALIDATION", "portrait"),
}

SOUNDS: dict[str, tuple[Maker, str, str]] = {
    "zero length": (
        lambda d: write_wav(d / "zero.wav", np.zeros(0)),
        "E_AUDIO_EMBEDDING",
        "speakers.0.audio",
    ),
    "one sample": (
        lambda d: write_wav(d / "one.wav", np.array([0.5])),
        "E_AUDIO_EMBEDDING",
        "at least 0.1 s",
    ),
    "empty": (lambda d: written(d / "empty.wav", b""), "E_INPUT_VALIDATION", "empty"),
    "text file": (
        lambda d: written(d / "a.wav", b"not a sound at all\n" * 50),
        "E_INPUT_VALIDATION",
        "speakers.0.audio",
    ),
    "no sound": (silent_video, "E_AUDIO_EMBEDDING", "without sound"),
    "picture": (lambda d: PORTRAITS / "two_people.png", "E_INPUT_VALIDATION", "speakers.0.audio"),
    "hls as mp4": (
        secret_playlist("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n"),
        "E_MEDIA_UNSAFE",
        "playlist",
    ),
    "hls as wav": (
        secret_playlist("list.wav", "#EXTM3U\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n"),
        "E_MEDIA_UNSAFE",
        "playlist",
    ),
    "concat as wav": (
        secret_playlist("list.wav", "ffconcat version 1.0\nfile {name}\n"),
        "E_MEDIA_UNSAFE",
        "playlist",
    ),
    "concat as mp4": (
        secret_playlist("list.mp4", "ffconcat version 1.0\nfile '{path}'\n"),
        "E_MEDIA_UNSAFE",
        "playlist",
    ),
}


def check_refusal(cli: Cli, portrait: object, sound: object, code: str, words: str) -> None:
    before = cli.left()
    ended = cli("talk", portrait, sound, "--size", "512", "-o", "out.mp4")
    assert code in ended.err, ended.err
    assert words in ended.err, ended.err
    assert "→" in ended.err, "no advice"
    assert "Traceback" not in ended.err
    assert ended.status == 2
    assert cli.left() == before
    assert not cli.jobs.exists() or not list(cli.jobs.iterdir())


@pytest.mark.parametrize("case", PICTURES)
def test_bad_pictures(cli: Cli, tmp_path: Path, case: str) -> None:
    make, code, words = PICTURES[case]
    check_refusal(cli, make(tmp_path), GOOD, code, words)


@pytest.mark.parametrize("case", SOUNDS)
def test_bad_sounds(cli: Cli, tmp_path: Path, case: str) -> None:
    make, code, words = SOUNDS[case]
    check_refusal(cli, PORTRAIT, make(tmp_path), code, words)


def in_format(folder: Path, codec: str, suffix: str, rate: int, layout: str) -> Path:
    """Write real speech in another codec, rate and channel layout."""
    samples = read_sound(GOOD)[: 16_000 * 3 // 2]
    path = folder / f"sound.{suffix}"
    resampler = av.AudioResampler("fltp", layout, rate)
    with av.open(str(path), "w") as container:
        # FFmpeg calls its own Vorbis encoder experimental
        stream = container.add_stream(codec, rate=rate, layout=layout, options={"strict": "-2"})
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = 16_000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "layout"),
    [
        ("pcm_s16le", "wav", 8_000, "mono"),
        ("pcm_s24le", "wav", 192_000, "stereo"),
        ("pcm_f32le", "wav", 44_100, "mono"),
        ("pcm_s16le", "wav", 48_000, "5.1"),
        ("flac", "flac", 44_100, "stereo"),
        ("libmp3lame", "mp3", 44_100, "stereo"),
        ("libopus", "opus", 48_000, "mono"),
        ("vorbis", "ogg", 44_100, "stereo"),
        ("aac", "m4a", 48_000, "stereo"),
        ("aac", "aac", 44_100, "mono"),
    ],
)
def test_sane_sounds_of_every_kind(
    cli: Cli, tmp_path: Path, codec: str, suffix: str, rate: int, layout: str
) -> None:
    sound = in_format(tmp_path, codec, suffix, rate, layout)
    named = sound.rename(sound.with_name("sound.bin"))  # content counts, not the name
    ended = cli("talk", PORTRAIT, named, "--size", "320", "-o", "out.mp4", "--json")
    assert ended.status == 0, ended.out
    assert ended.json["plan"]["speech_seconds"] == pytest.approx(1.5, abs=0.1)


def test_silence_works_and_says_so(cli: Cli, tmp_path: Path) -> None:
    silent = write_wav(tmp_path / "silent.wav", np.zeros(16_000))
    ended = cli("talk", PORTRAIT, silent, "--size", "320", "-o", "silent.mp4", "--json")
    assert ended.status == 0, ended.out
    assert any("silent" in notice["message"] for notice in ended.json["warnings"])


def test_the_sound_of_a_video_works(cli: Cli) -> None:
    first = cli("talk", PORTRAIT, GOOD, "--size", "320", "-o", "first.mp4")
    assert first.status == 0, first.err
    ended = cli("talk", PORTRAIT, "first.mp4", "--size", "320", "-o", "second.mp4")
    assert ended.status == 0, ended.err


def test_an_output_that_cannot_be_written(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path / "file", b"in the way")
    for out in (tmp_path / "file" / "out.mp4", tmp_path / "missing" / "out.mp4"):
        ended = cli("talk", PORTRAIT, GOOD, "-o", out)
        assert ended.status == 5, ended.err
        assert "cannot write" in ended.err
    wrong = cli("talk", PORTRAIT, GOOD, "-o", "out.avi")
    assert (wrong.status, ".mp4" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    "words", [("--voice", "espeak:nonsense"), ("--voice", "nobody"), ("--language", "atlantean")]
)
def test_unknown_voices(cli: Cli, words: tuple[str, str]) -> None:
    ended = cli("talk", PORTRAIT, "--text", "Hello", *words, "-o", "out.mp4")
    assert ended.status == 2, ended.err
    assert words[1].rpartition(":")[2] in ended.err
    assert "resume" not in ended.err
    assert cli.left() == []
    assert not cli.jobs.exists() or not list(cli.jobs.iterdir())


def test_an_unwritable_job_folder(cli: Cli, tmp_path: Path) -> None:
    written(tmp_path / "file", b"in the way")
    ended = cli("talk", PORTRAIT, GOOD, "-o", "out.mp4", TALKHEAD_JOBS=str(tmp_path / "file"))
    assert ended.status == 4, ended.err
    assert "TALKHEAD_JOBS" in ended.err
    assert cli.left() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a disk of its own that holds 700 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_under_the_job(cli: Cli, small_disk: Path) -> None:
    words = ("talk", PORTRAIT, SPEECH / "librivox_0870.flac", "--size", "720", "--seed", "1")
    ended = cli(*words, "-o", "out.mp4", TALKHEAD_JOBS=str(small_disk / "jobs"))
    assert ended.status == 4, ended.err
    assert "disk is full" in ended.err
    assert cli.left() == []


def test_a_full_disk_under_the_output_keeps_the_render(cli: Cli, small_disk: Path) -> None:
    written(small_disk / "filler", bytes(600_000))
    words = ("talk", PORTRAIT, SPEECH / "librivox_0870.flac", "--size", "512", "--seed", "1")
    ended = cli(*words, "-o", small_disk / "out.mp4")
    assert ended.status == 5, ended.err
    assert "free some space" in ended.err
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler"]
    assert "resume with" in ended.err
    job = cli("jobs", "list", "--json").json[0]
    assert job["segments_done"] == job["segments"]
    again = cli("talk", "--resume", job["id"], "-o", "out.mp4", "--json")
    assert again.json["segments"]["resumed"] == job["segments"]


def test_wav_header_without_a_length(cli: Cli, tmp_path: Path) -> None:
    """A WAV that was streamed says it is as long as can be; what is there counts."""
    out = io.BytesIO()
    with wave.open(out, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        target.writeframes((read_sound(GOOD)[:16_000] * 32767).astype("<i2").tobytes())
    content = bytearray(out.getvalue())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    sound = written(tmp_path / "streamed.wav", bytes(content))
    ended = cli("talk", PORTRAIT, sound, "--size", "320", "-o", "out.mp4", "--json")
    assert ended.status == 0, ended.out
    assert ended.json["plan"]["speech_seconds"] == pytest.approx(1, abs=0.05)
