"""Which speaker each part of the picture listens to: reference maps, and positions made of them.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). For two speakers only.
"""

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.models.attention import attend

PERSONS = 2
CLASSES = PERSONS + 1  # and the background, in this order: of equal maps the first counts


def classes(masks: Tensor, rows: int, columns: int) -> Tensor:
    """Return f32 (classes, rows * columns), 0 or 1: masks (classes, h, w) on the token grid."""
    small = functional.interpolate(masks.float()[None], size=(rows, columns), mode="nearest")[0]
    return (small > 0).float().flatten(1)


def reference_map(query: Tensor, key: Tensor, masks: Tensor, backend: str = "sdpa") -> Tensor:
    """Return f32 (b, classes, n): how much each token attends to each class, averaged over heads.

    `query` (b, n, heads, d) and `key` (b, m, heads, d) are those of self-attention after their
    rope, `key` of the first latent frame alone; `masks` is f32 (b, classes, m) of 0 and 1. An empty
    class has a map of zeros.
    """
    dim = query.shape[-1]
    if masks.shape[1] > dim:
        raise ValueError(f"{masks.shape[1]} classes do not fit into heads of {dim} channels")
    value = masks.to(query.dtype).transpose(1, 2)[:, :, None]  # (b, m, 1, classes)
    # As wide as the heads and one for each, because fast attention asks for it.
    value = functional.pad(value, (0, dim - masks.shape[1])).repeat(1, 1, key.shape[2], 1)
    attended = attend(query, key, value, backend)[..., : masks.shape[1]]  # (b, n, heads, classes)
    sizes = masks.sum(-1).clamp_min(1)  # (b, classes)
    return attended.float().mean(2).transpose(1, 2) / sizes[..., None]


def query_positions(maps: Tensor, span: float, width: float) -> Tensor:
    """Return f32 (b, n): where each token stands on the speakers' axis of 0 to `span`.

    Person 1 has the first `width` of it and person 2 the last, each token by the strength of its
    person's map (b, classes, n); what the background has most of stands in the middle.
    """
    low, high = maps.amin(-1, keepdim=True), maps.amax(-1, keepdim=True)
    strength = (maps - low) / (high - low + 1e-8) * width  # (b, classes, n)
    candidates = torch.stack(
        [strength[:, 0], strength[:, 1] + (span - width), torch.full_like(maps[:, 2], span / 2)],
        dim=1,
    )
    winner = maps.argmax(dim=1, keepdim=True)
    return candidates.gather(1, winner)[:, 0]


def key_positions(tokens: int, span: float, width: float, device: torch.device) -> Tensor:
    """Return f32 (persons * tokens,): where the audio tokens of each latent frame stand."""
    middles = torch.tensor([width / 2, span - width / 2], device=device)
    return middles.repeat_interleave(tokens)
