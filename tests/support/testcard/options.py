"""The options of the test engine."""

from pydantic import BaseModel


class Options(BaseModel):
    """Ways to misbehave, how much to prepare, and how long to take."""

    fault: str = ""
    pause: float = 0  # seconds for each window
    features_mb: int = 0  # of an array that is prepared in the room of the job path
