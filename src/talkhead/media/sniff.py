"""What a file is, told from its first bytes; names and extensions are never asked."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

from talkhead.errors import Code, TalkheadError

Family = Literal["image", "audio", "video"]

HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of media file that talkhead reads, or an image kind that it can name."""

    name: str  # as people call it
    mime: str
    family: Family
    reader: str  # the only demuxer of libav, or the only format of Pillow, that may open it


PNG = Kind("PNG", "image/png", "image", "PNG")
JPEG = Kind("JPEG", "image/jpeg", "image", "JPEG")
WEBP = Kind("WebP", "image/webp", "image", "WEBP")
BMP = Kind("BMP", "image/bmp", "image", "BMP")
AVIF = Kind("AVIF", "image/avif", "image", "AVIF")
# Named so that reading a portrait can say what to do about them; no reader.
GIF = Kind("GIF", "image/gif", "image", "")
HEIC = Kind("HEIC", "image/heic", "image", "")
TIFF = Kind("TIFF", "image/tiff", "image", "")

WAV = Kind("WAV", "audio/wav", "audio", "wav")
MP3 = Kind("MP3", "audio/mpeg", "audio", "mp3")
FLAC = Kind("FLAC", "audio/flac", "audio", "flac")
OGG = Kind("Ogg", "audio/ogg", "audio", "ogg")
AAC = Kind("AAC", "audio/aac", "audio", "aac")
M4A = Kind("M4A", "audio/mp4", "audio", "mov")
MP4 = Kind("MP4", "video/mp4", "video", "mov")
MOV = Kind("QuickTime", "video/quicktime", "video", "mov")
OGV = Kind("Ogg video", "video/ogg", "video", "ogg")
MKV = Kind("Matroska", "video/x-matroska", "video", "matroska")
WEBM = Kind("WebM", "video/webm", "video", "matroska")
AVI = Kind("AVI", "video/x-msvideo", "video", "avi")

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"fLaC", FLAC),
)
RIFF = {b"WAVE": WAV, b"WEBP": WEBP, b"AVI ": AVI}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
M4A_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
OLD_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}

# What opens other files or addresses when it is played. None of it is media itself.
PLAYLISTS = (
    (re.compile(rb"#EXTM3U|#EXT-X-|#EXTINF"), "an M3U playlist"),
    (re.compile(rb"ffconcat version"), "an ffconcat playlist"),
    (re.compile(rb"file\s+['\"/.\w]"), "an ffconcat playlist"),
    (re.compile(rb"\[playlist\]", re.IGNORECASE), "a PLS playlist"),
    (re.compile(rb"\[reference\]|rtsptext", re.IGNORECASE), "a playlist that refers elsewhere"),
    (re.compile(rb"v=0\r?\no="), "a stream description (SDP)"),
    (re.compile(rb"(?s).{0,2000}<(MPD|SmoothStreamingMedia)\b"), "a streaming manifest"),
    (re.compile(rb"(?s).{0,500}<(asx|smil|playlist)\b", re.IGNORECASE), "a playlist"),
    (re.compile(rb"(https?|file|rtsp|rtmp|concat|data)://?\S+\s*$"), "a link"),
)
FOREIGN = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"8BPS", "a Photoshop picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"FORM", "an AIFF recording"),
    (b"caff", "a CAF recording"),
    (b"#!AMR", "an AMR recording"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"FLV\x01", "a Flash video"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def sniff(path: Path, field: str = "") -> Kind:
    """Return what kind of media a file holds.

    Raises E_MEDIA_UNSAFE for playlists and E_INPUT_VALIDATION for anything else that is no media.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            kind = _kind(head) or _behind_tag(head, file)
    except OSError as error:
        raise bad_input(
            field, f"cannot read {path.name}: {error.strerror}", "check the path"
        ) from error
    if kind is None:
        _refuse(head, path, field)
    return kind


def bad_input(field: str, message: str, hint: str, code: Code = Code.INPUT) -> TalkheadError:
    """Return an error about one input file, naming the request's field where it is known."""
    text = f"{field}: {message}" if field else message
    return TalkheadError(code, text, hint, fields=[field] if field else [])


def _kind(head: bytes) -> Kind | None:
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return BMP
    return _container(head) or _elementary(head)


def _container(head: bytes) -> Kind | None:
    """Recognise the families of formats that share a first box, chunk or page."""
    kind: Kind | None = None
    if head[:4] in {b"RIFF", b"RF64", b"BW64"}:
        kind = RIFF.get(head[8:12])
    elif head[4:8] == b"ftyp":
        kind = _iso(head)
    elif head[4:8] in OLD_QUICKTIME:
        kind = MOV
    elif head.startswith(b"\x1aE\xdf\xa3"):
        kind = WEBM if b"webm" in head[:64] else MKV
    elif head.startswith(b"OggS"):
        kind = OGV if b"\x80theora" in head[:512] else OGG
    return kind


def _iso(head: bytes) -> Kind:
    """Tell apart what shares the ISO base format by the brands in its first box."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    major = head[8:12]
    brands = {major} | {head[at : at + 4] for at in range(16, size, 4)}
    if brands & AVIF_BRANDS and major not in HEIC_BRANDS - {b"mif1", b"msf1"}:
        return AVIF
    if brands & HEIC_BRANDS:
        return HEIC
    if major in M4A_BRANDS:
        return M4A
    return MOV if major == b"qt  " else MP4


def _elementary(head: bytes) -> Kind | None:
    """Recognise the frame headers of MPEG audio, which has no file header."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # layer 00: ADTS
        return AAC
    layer3, rate = head[1] & 0xE6 == 0xE2, head[2] & 0xF0
    return MP3 if layer3 and rate not in {0x00, 0xF0} and head[2] & 0x0C != 0x0C else None


def _behind_tag(head: bytes, file: BinaryIO) -> Kind | None:
    """Look behind an ID3 tag, which may come before MP3, AAC and FLAC."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return None
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    file.seek(10 + size)
    behind = file.read(HEAD_BYTES).lstrip(b"\0")
    return _elementary(behind) or (FLAC if behind.startswith(b"fLaC") else MP3)


def _refuse(head: bytes, path: Path, field: str) -> NoReturn:
    if not head:
        raise bad_input(field, f"{path.name} is empty", "the file has 0 bytes; send it again")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, what in PLAYLISTS:
        if pattern.match(text):
            raise bad_input(
                field,
                f"{path.name} is {what}, not media",
                "give the picture, recording or video itself",
                Code.MEDIA,
            )
    for signature, what in FOREIGN:
        if head.startswith(signature):
            raise bad_input(field, f"{path.name} is {what}", ACCEPTED)
    raise bad_input(field, f"{path.name} is {_text(text)}", ACCEPTED)


ACCEPTED = (
    "portraits are PNG, JPEG, WebP, BMP or AVIF; "
    "speech is WAV, MP3, FLAC, Ogg, M4A, AAC or the sound of an MP4, MOV, MKV, WebM or AVI"
)


def _text(text: bytes) -> str:
    """Name what is no media: web pages and error replies saved as a picture are frequent."""
    start = text[:512].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), perhaps an error page saved under a picture's name"
    if b"<svg" in start:
        return "an SVG drawing; export it as PNG"
    if start.startswith(b"<"):
        return "an XML file, perhaps a server's error reply"
    if start.startswith((b"{", b"[")) and _is_json(text):
        return "a JSON file, perhaps a server's error reply"
    control = any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
    broken = len(start) - len(start.decode(errors="ignore").encode())
    if not control and broken < min(4, len(start)):  # the cut may split one character
        return "a text file"
    return "no kind of file that talkhead knows"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return len(text) >= HEAD_BYTES // 2  # cut off by the head
    return True
