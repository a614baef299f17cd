"""The options of the test engine."""

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing but a way to misbehave."""

    fault: str = ""
