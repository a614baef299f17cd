"""What every voice promises: text in, a WAV file and, where it knows them, phone times out.

And what an isolator does: recordings in, the voice alone out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from talkhead.engines import Phone, Tick


@dataclass(frozen=True, slots=True)
class Line:
    """What is to be said, and how."""

    text: str
    language: str = "auto"
    speed: float = 1.0  # 1 is the voice's own pace
    variant: str | None = None  # what follows the colon in `voice: espeak:fr`
    sample: Path | None = None  # a recording to clone, for voices that can
    sample_text: str | None = None


class Voice(Protocol):
    """Speaks text. Built once per process."""

    def speak(self, line: Line, out: Path, tick: Tick) -> tuple[Phone, ...] | None:
        """Write a mono 16-bit WAV to out; return exact phone times, or None where unknown."""
        ...


class Isolator(Protocol):
    """Takes music and noise out of speech. Built once per process, used for one job at a time."""

    def isolate(self, sound: Path, out: Path, tick: Tick) -> None:
        """Write the voice of `sound`, 44.1 kHz stereo WAV of 16 bits, as a WAV just as long."""
        ...
