"""What a file is on the wire, by the end of its name: one table, whatever the machine says."""

from pathlib import PurePosixPath

MIMES = {
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".json": "application/json",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4s": "video/iso.segment",
}
REPEATED = MIMES[".m3u8"]  # written again while it is read
FOR_EVER = MIMES[".m4s"]  # under a name of their content


def mime_of(name: str) -> str:
    """Return the MIME type of a file or key; application/octet-stream for what we never make."""
    return MIMES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")


def kept(mime: str) -> str:
    """Return how long caches may keep a file of this type, as Cache-Control says it."""
    if mime == REPEATED:
        return "no-cache"
    return "max-age=31536000, immutable" if mime == FOR_EVER else "max-age=86400"
