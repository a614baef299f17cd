import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.media import moving, tone, write_sound, write_video
from talkhead.errors import Code, TalkheadError
from talkhead.media import sniff as kinds
from talkhead.media.container import open_media
from talkhead.media.sniff import sniff

SOUND = tone(0.3, 48_000)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("codec", "container", "kind"),
    [
        ("pcm_s16le", "wav", kinds.WAV),
        ("libmp3lame", "mp3", kinds.MP3),
        ("flac", "flac", kinds.FLAC),
        ("libopus", "ogg", kinds.OGG),
        ("aac", "ipod", kinds.M4A),
        ("aac", "mp4", kinds.MP4),
        ("aac", "mov", kinds.MOV),
        ("aac", "adts", kinds.AAC),
        ("libopus", "webm", kinds.WEBM),
        ("aac", "matroska", kinds.MKV),
        ("pcm_s16le", "avi", kinds.AVI),
    ],
)
def test_sound_is_known_by_its_content_and_opens(
    tmp_path: Path, codec: str, container: str, kind: kinds.Kind
) -> None:
    path = write_sound(tmp_path / "picture.png", SOUND, 48_000, codec, container=container)
    assert sniff(path) == kind
    with open_media(path) as opened:
        assert opened.streams.audio[0].rate == 48_000


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PNG", kinds.PNG),
        ("JPEG", kinds.JPEG),
        ("WEBP", kinds.WEBP),
        ("BMP", kinds.BMP),
        ("GIF", kinds.GIF),
        ("TIFF", kinds.TIFF),
        ("AVIF", kinds.AVIF),
    ],
)
def test_pictures_are_known_by_their_content(tmp_path: Path, name: str, kind: kinds.Kind) -> None:
    path = tmp_path / "sound.wav"
    Image.new("RGB", (64, 64)).save(path, name)
    assert sniff(path) == kind


def test_mp3_behind_a_large_tag_and_raw(tmp_path: Path) -> None:
    mp3 = write_sound(tmp_path / "a.mp3", SOUND, 48_000, "libmp3lame").read_bytes()
    cover = b"ID3\x04\0\0" + bytes([0, 0, 0x7F, 0x7F]) + bytes(0x3FFF)
    assert sniff(_written(tmp_path / "tagged", cover + mp3)) == kinds.MP3
    raw = mp3[10 + mp3[9] :]  # libav's own tag is short
    assert raw[0] == 0xFF
    assert sniff(_written(tmp_path / "raw", raw)) == kinds.MP3


def test_aac_and_flac_behind_a_tag(tmp_path: Path) -> None:
    tag = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    aac = write_sound(tmp_path / "a.aac", SOUND, 48_000, "aac", container="adts").read_bytes()
    flac = write_sound(tmp_path / "a.flac", SOUND, 48_000, "flac").read_bytes()
    assert sniff(_written(tmp_path / "b", tag + aac)) == kinds.AAC
    assert sniff(_written(tmp_path / "c", tag + flac)) == kinds.FLAC


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"heic\0\0\0\0mif1heic", kinds.HEIC),
        (b"mif1\0\0\0\0mif1heic", kinds.HEIC),
        (b"mif1\0\0\0\0avifmif1", kinds.AVIF),
        (b"avis\0\0\0\0avifmsf1", kinds.AVIF),
        (b"M4A \0\0\0\0isommp42", kinds.M4A),
        (b"qt  \0\0\0\0qt  ", kinds.MOV),
        (b"isom\0\0\0\0isomavc1", kinds.MP4),
    ],
)
def test_the_iso_family_is_told_apart_by_brands(
    tmp_path: Path, brands: bytes, kind: kinds.Kind
) -> None:
    head = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands
    assert sniff(_written(tmp_path / "a", head + bytes(64))) == kind


@pytest.mark.parametrize("name", ["list.mp4", "list.wav", "list.m3u8", "list.png"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        "\ufeff\n#EXTM3U\n#EXTINF:1,\nfile://{secret}\n",
        "ffconcat version 1.0\nfile {name}\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "file '{secret}'\n",
        "[playlist]\nFile1={secret}\n",
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 0 RTP/AVP 96\r\n",
        '<?xml version="1.0"?>\n<MPD><BaseURL>{secret}</BaseURL></MPD>',
        '<asx version="3.0"><entry><ref href="{secret}"/></entry></asx>',
        "[Reference]\nRef1={secret}\n",
        "concat:{secret}|{secret}\n",
        "http://169.254.169.254/latest/meta-data/\n",
    ],
)
def test_playlists_are_refused_and_never_opened(tmp_path: Path, text: str, name: str) -> None:
    secret = write_sound(tmp_path / "secret.wav", SOUND, 48_000)
    path = tmp_path / name
    path.write_text(text.format(secret=secret, name=secret.name))
    with pytest.raises(TalkheadError) as caught, open_media(path, "speakers.0.audio"):
        pass
    assert caught.value.code == Code.MEDIA
    assert caught.value.fields == ("speakers.0.audio",)
    assert caught.value.hint


def test_a_name_with_a_pattern_or_a_protocol_is_only_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Image.new("RGB", (64, 64)).save(tmp_path / f"frame{number:03d}.png")
    pattern = write_sound(tmp_path / "frame%03d.png", SOUND, 48_000, container="wav")
    with open_media(pattern) as container:
        assert container.format.name == "wav"
    monkeypatch.chdir(tmp_path)
    write_sound(tmp_path / "a.wav", SOUND, 48_000)
    odd = Path("concat:a.wav|a.wav")
    write_sound(tmp_path / odd, tone(0.2, 8000), 8000, container="wav")
    with open_media(odd) as container:
        assert container.streams.audio[0].rate == 8000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello\n" * 99, "text file"),
        (b"<!DOCTYPE html><html><body>404 Not Found", "HTML"),
        (b"\n  <html lang=en>", "HTML"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'{"error": "not found"}', "JSON"),
        (b"[1, 2, 3]", "JSON"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (bytes(range(256)) * 4, "no kind of file"),
        (b"\0" * 5000, "no kind of file"),
        (b"RIFF\0\0\0\0ACON", "no kind of file"),
        (b"\xff", "no kind of file"),
    ],
)
def test_what_is_no_media_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(TalkheadError, match=re.escape(words)) as caught:
        sniff(_written(tmp_path / "photo.jpg", content), "portrait")
    assert caught.value.code == Code.INPUT
    assert caught.value.message.startswith("portrait: photo.jpg")
    assert caught.value.hint


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(TalkheadError, match="cannot read"):
            sniff(path)


def test_a_picture_does_not_open_as_media(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.mp4", "PNG")
    with pytest.raises(TalkheadError, match="is a picture"), open_media(tmp_path / "a.mp4"):
        pass


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flac", "wav", "mp3"])
def test_what_only_starts_like_media_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    if suffix in {"mp4", "mkv"}:
        write_video(whole, moving(30))
    else:
        codec = {"flac": "flac", "wav": "pcm_s16le", "mp3": "libmp3lame"}[suffix]
        write_sound(whole, SOUND, 48_000, codec)
    cut = _written(tmp_path / f"cut.{suffix}", whole.read_bytes()[:40])
    with pytest.raises(TalkheadError) as caught, open_media(cut) as container:
        list(container.demux())
        assert not container.streams  # opened, but there is nothing in it
        raise TalkheadError(Code.INPUT, "no streams", "-")
    assert caught.value.hint


def test_noise_behind_every_signature_is_an_error_of_ours(tmp_path: Path) -> None:
    """Whatever follows a known start, the answer is a TalkheadError or an opened container."""
    rng = np.random.default_rng(0)
    starts = [start for start, kind in kinds.SIGNATURES if kind.family != "image"]
    starts += [b"RIFF\xff\xff\xff\xffWAVEfmt ", b"OggS\0\2", b"\x1aE\xdf\xa3", b"\xff\xfb\x90\0"]
    starts += [b"\0\0\0\x18ftypisom\0\0\2\0isommp41", b"RIFF\0\1\0\0AVI LIST", b"ID3\4\0\0\0\0\0\0"]
    for start in starts:
        for _ in range(8):
            noise = rng.integers(0, 256, 600, np.uint8).tobytes()
            path = _written(tmp_path / "noise", start + noise)
            try:
                with open_media(path):
                    pass
            except TalkheadError as error:
                assert error.hint
