"""OmniAvatar as it is, but for sizes: convolutions of few channels are slow on a CPU."""

from dataclasses import replace

from talkhead.engines.omniavatar import OmniAvatar


class TinyAvatar(OmniAvatar):
    """Works at 64 x 64 at most."""

    spec = replace(OmniAvatar.spec, min_side=32, max_pixels=64 * 64, buckets={})
