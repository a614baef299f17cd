"""InfiniteTalk as it is, but for sizes: convolutions of few channels are slow on a CPU."""

from dataclasses import replace

from talkhead.engines.infinitetalk import InfiniteTalk


class TinyTalk(InfiniteTalk):
    """Works at 64 x 64 at most."""

    spec = replace(InfiniteTalk.spec, min_side=32, max_pixels=64 * 64)
