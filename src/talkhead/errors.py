"""One exception and one closed list of codes, the same for every way into talkhead."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """What went wrong, as a caller sees it."""

    INPUT = "E_INPUT_VALIDATION"
    DOWNLOAD = "E_DOWNLOAD_FAILED"
    MEDIA = "E_MEDIA_UNSAFE"
    NO_FACE = "E_NO_FACE"
    AUDIO = "E_AUDIO_EMBEDDING"
    WEIGHTS = "E_PIPELINE_LOAD"
    OOM = "E_OOM"
    GENERATION = "E_GENERATION_RUNTIME"
    ENCODE = "E_FFMPEG"
    STORE = "E_UPLOAD"
    TIMEOUT = "E_TIMEOUT"
    CANCELLED = "E_CANCELLED"
    CAPACITY = "E_CAPACITY"
    UNSUPPORTED = "E_UNSUPPORTED"
    INTERNAL = "E_INTERNAL"


# Asking again, unchanged, may help, unless the error itself says otherwise. After E_OOM a retry
# meets a fresh process.
RETRYABLE = frozenset(
    {Code.DOWNLOAD, Code.OOM, Code.STORE, Code.TIMEOUT, Code.CANCELLED, Code.CAPACITY}
)

# Exit codes of the command line, by what the user has to change.
EXIT_CODES = {
    Code.INTERNAL: 1,
    Code.GENERATION: 1,
    Code.INPUT: 2,
    Code.DOWNLOAD: 2,
    Code.MEDIA: 2,
    Code.NO_FACE: 2,
    Code.AUDIO: 2,
    Code.UNSUPPORTED: 3,
    Code.WEIGHTS: 3,
    Code.OOM: 4,
    Code.TIMEOUT: 4,
    Code.CAPACITY: 4,
    Code.ENCODE: 5,
    Code.STORE: 5,
    Code.CANCELLED: 130,
}


class TalkheadError(Exception):
    """A failure that we can name: what was wrong, and in `hint` what to do about it.

    `fields` are dotted paths into the request (`speakers.0.audio`); the job fills in `stage`.
    `retryable` is the code's own unless the raiser knows better.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        hint: str = "",
        *,
        fields: Sequence[str] = (),
        stage: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.fields = tuple(fields)
        self.stage = stage
        # whether the same request may work later
        self.retryable = code in RETRYABLE if retryable is None else retryable
        self.job_id: str | None = None  # filled in once there is a job folder to resume from

    def __reduce__(self) -> tuple[object, ...]:
        """Let a worker process hand the error to its parent."""
        return rebuilt, (self.to_dict(),)

    @property
    def exit_code(self) -> int:
        """Return the command line's exit status."""
        return EXIT_CODES[self.code]

    def to_dict(self) -> dict[str, object]:
        """Return the wire form, the same for the command line, servers and workers."""
        return {
            "code": self.code.value,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "stage": self.stage,
            "fields": list(self.fields),
            "job_id": self.job_id,
        }


def rebuilt(wire: dict[str, Any]) -> TalkheadError:
    """Return the error behind a wire form."""
    error = TalkheadError(
        Code(wire["code"]),
        wire["message"],
        wire["hint"],
        fields=wire["fields"],
        stage=wire["stage"],
        retryable=wire["retryable"],
    )
    error.job_id = wire["job_id"]
    return error
