"""What a file is on the wire, by the end of its name: one table, whatever the machine says."""

from pathlib import PurePosixPath

MIMES = {
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".json": "application/json",
}


def mime_of(name: str) -> str:
    """Return the MIME type of a file or key; application/octet-stream for what we never make."""
    return MIMES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
