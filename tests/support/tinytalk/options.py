"""The options of InfiniteTalk."""

from talkhead.engines.infinitetalk.options import Options

__all__ = ["Options"]
