"""The sizes that the network was trained at, and how long a chunk of each may be. Loads no torch.

OmniAvatar (arXiv 2506.18866; official code commit 1536bf3).
"""

from talkhead.engines import Bucket
from talkhead.models.vae_sizes import RATIO, STRIDE

MAX_TOKENS = 30_000  # the official default; 60000 and 80000 work too, says its README
NUMBERS_PER_TOKEN = (2 * RATIO) ** 2 * STRIDE  # pixels of the frames that one token stands for


def _bucket(height: int, width: int) -> Bucket:
    return Bucket(height / width, height, width)


# The official lists for max_hw 720 and 1280, in their order: of equals the first is taken. Only the
# former is trained, says its README.
BUCKETS_480 = (_bucket(400, 720), _bucket(720, 720), _bucket(720, 400))
BUCKETS_720 = (
    _bucket(720, 720),
    _bucket(528, 960),
    _bucket(960, 528),
    _bucket(720, 1280),
    _bucket(1280, 720),
)


def chunk_frames(height: int, width: int, max_tokens: int = MAX_TOKENS) -> int:
    """Return the frames of one chunk, 4n + 1; less than 5 where the tokens are too few for one.

    As officially, where they are a multiple of 4 there is one latent frame less than would fit;
    and divided in this order, whose rounding decides at whole numbers.
    """
    frames = int(max_tokens * NUMBERS_PER_TOKEN / height / width)
    return frames - (STRIDE - 1) if frames % STRIDE == 0 else frames // STRIDE * STRIDE + 1


def tokens_for(frames: int, height: int, width: int) -> int:
    """Return the least `max_tokens` that make chunks of at least so many frames, 4n + 1."""
    return -(-frames * height * width // NUMBERS_PER_TOKEN)
