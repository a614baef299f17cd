"""Where results go. A store keeps bytes under keys: slash-separated, relative names."""

from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Keeps files under keys."""

    def put(self, file: Path, key: str) -> None:
        """Store file whole under key, replacing what was there; E_UPLOAD where it cannot."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        ...

    def url(self, key: str, expires_s: int) -> str:
        """Return a URL to hand to the caller."""
        ...
