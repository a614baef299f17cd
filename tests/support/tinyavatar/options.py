"""The options of OmniAvatar."""

from talkhead.engines.omniavatar.options import Options

__all__ = ["Options"]
