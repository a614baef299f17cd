"""OmniAvatar as it is, but for sizes: convolutions of few channels are slow on a CPU."""

from dataclasses import replace

from talkhead.engines.omniavatar import OmniAvatar


class TinyAvatar(OmniAvatar):
    """Works at 32 x 32."""

    spec = replace(OmniAvatar.spec, min_side=32, max_pixels=32 * 32, buckets={})
