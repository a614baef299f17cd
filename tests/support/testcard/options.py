"""The options of the test engine."""

from pydantic import BaseModel


class Options(BaseModel):
    """Ways to misbehave, and how much to prepare."""

    fault: str = ""
    features_mb: int = 0  # of an array that is prepared in the room of the job path
