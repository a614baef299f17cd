"""Which passes OmniAvatar's guidance needs, and how much each counts. Loads no torch.

OmniAvatar (arXiv 2506.18866; official code commit 1536bf3).
"""

from talkhead.models.passes import Guidance, Pass


def weights(guidance: Guidance) -> dict[Pass, float]:
    """Return the weight of each pass in the guided velocity; passes of no weight are left out.

    With text guidance g and audio guidance a: u + g (t - u) + a (c - t), where c, t and u are both,
    text and neither; u + g (c - u) where they are equal, in two passes. InfiniteTalk's goes by
    audio with the negative prompt instead. Where g is 1 the official code ignores a; here it still
    counts.
    """
    text, audio = guidance.text, guidance.audio
    shares = {Pass.BOTH: audio, Pass.TEXT: text - audio, Pass.NEITHER: 1 - text}
    return {name: share for name, share in shares.items() if share != 0}
