"""OmniAvatar's own checkpoint, beside Wan 2.1 text-to-video: whole tensors, and pairs of low rank.

The whole ones are a wider patch embedding, which takes the base's place, and the layers of the
audio. By the official code (commit 1536bf3) each pair adds alpha / rank * (B @ A) to a linear
layer of the base; its loader passes over what does not fit, ours does not.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkhead.engines.omniavatar.choice import Found
from talkhead.errors import Code, TalkheadError
from talkhead.models import lora
from talkhead.models.formats import named, shapes
from talkhead.models.loading import Rules, Source, renamed, rules

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

PARTS = r"(weight|bias)"
BEFORE = rf"(?:{'|'.join(map(re.escape, lora.PREFIXES))})*"  # what trainers put before names
WHOLE: Rules = rules(
    {
        rf"{BEFORE}patch_embedding\.{PARTS}": r"patch_embedding.\1",
        rf"{BEFORE}audio_proj\.(proj|norm_out)\.{PARTS}": r"audio_proj.\1.\2",
        rf"{BEFORE}audio_cond_projs\.(\d+)\.{PARTS}": r"audio_cond_projs.\1.\2",
    }
)
PAIRS = re.compile(r".+\.lora_[AB](\.default)?\.weight")
PATCH = re.compile(rf"patch_embedding\.{PARTS}")  # of the base: the checkpoint's own counts
OWN = ("patch_embedding.", "audio_proj.", "audio_cond_projs.")
LAYERS = (  # of a block, which pairs change
    *(f"{kind}.{part}" for kind in ("self_attn", "cross_attn") for part in "qkvo"),
    "ffn.0",
    "ffn.2",
)
FIRST = 2  # the block from which on audio is added, to half of all
ALPHA, RANK = 64.0, 128  # of both published checkpoints
ADVICE = (
    "use OmniAvatar's checkpoint that goes with the base: "
    "`talkhead weights pull omniavatar`, or omniavatar-1.3b"
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How strongly pairs change the base."""

    alpha: float = ALPHA
    rank: int = RANK
    stated: bool = False  # a config says so, and the pairs have to be of that rank

    @property
    def factor(self) -> float:
        """Return what a pair's product is multiplied by."""
        return self.alpha / self.rank


def scale_of(config: Path | None) -> Scale:
    """Return what a checkpoint's config.json says, or what the published ones say.

    Raises E_PIPELINE_LOAD for a config that cannot be read.
    """
    if config is None:
        return Scale()
    try:
        said: Any = json.loads(config.read_text(encoding="utf-8"))
        alpha, rank = said.get("lora_alpha", ALPHA), said.get("lora_rank", RANK)
    except (OSError, ValueError, AttributeError) as error:
        raise _refused(config, f"cannot be read ({error})") from error
    for name, value in (("lora_alpha", alpha), ("lora_rank", rank)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise _refused(config, f"says {name} {value!r}, which is no number above 0")
    return Scale(float(alpha), int(rank), stated="lora_rank" in said)


def sources(found: Found, known: Rules) -> tuple[Source, ...]:
    """Return the files of a transformer, for loading.load; `known` are the rules of the base."""
    if found.delta is None:
        return (Source(found.weights, known + WHOLE),)
    return (
        Source(found.weights, known, skip=PATCH),
        Source((found.delta,), WHOLE, skip=PAIRS),
    )


def changes(found: Found, known: Rules, wanted: Shapes) -> lora.Merge:
    """Return what is to be merged at load into a model of the tensors `wanted`; see `planned`."""
    if found.delta is None:
        return lora.Merge({})
    return planned(found.delta, scale_of(found.delta_config), known, wanted)


def planned(file: Path, scale: Scale, known: Rules, wanted: Shapes) -> lora.Merge:
    """Return what a checkpoint changes in the tensors `wanted`, by the names that `known` gives.

    Raises E_PIPELINE_LOAD for a file that has not exactly what the model needs: each whole tensor
    and each pair, of its shape and rank, and nothing else.
    """
    found = shapes(file)
    _check_whole(file, found, wanted)
    ranks = {found[key][0] for key in found if PAIRS.fullmatch(key) and ".lora_A." in key}
    if scale.stated and (others := ranks - {scale.rank}):
        told = f"has pairs of rank {min(others)}, and its config says {scale.rank}"
        raise _refused(file, told)
    merge = lora.plan([lora.Lora(file, scale.factor, beside=WHOLE, advice=ADVICE)], known, wanted)
    if merge.warnings:
        raise _refused(file, f"is not as the published ones are: {'; '.join(merge.warnings)}")
    if lost := [name for name in _changed(known, wanted) if name not in merge.changes]:
        raise _refused(file, f"has no pairs for {named(lost)}")
    used = {key for made in merge.changes.values() for change in made for key in change.keys}
    if twice := [key for key in found if PAIRS.fullmatch(key) and key not in used]:
        raise _refused(file, f"has two names for one thing: {named(twice)}")
    return merge


def whole(found: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Return a checkpoint's keys of whole tensors by their names, each of which it may have once.

    Raises E_PIPELINE_LOAD for a name that it has twice.
    """
    keys: dict[str, str] = {}
    for key in found:
        if (name := renamed(key, WHOLE)) is not None:
            if name in keys:
                raise _refused(file, f"has two names for one thing: {keys[name]}, {key}")
            keys[name] = key
    return keys


def published(base: Shapes, file: Path) -> dict[str, Shape]:
    """Return the shapes of base and checkpoint in one, by official names.

    Raises E_PIPELINE_LOAD for a checkpoint without what tells its sizes.
    """
    found = shapes(file)
    keys = whole(found, file)
    for name in ("patch_embedding.weight", "audio_proj.proj.weight"):
        if name not in keys:
            raise _lacking(file, [name])
    if len(found[keys["audio_proj.proj.weight"]]) != 2:
        raise _refused(file, "has an audio_proj.proj.weight that is no matrix")
    try:
        dim, channels, *patch = base["patch_embedding.weight"]
    except (KeyError, ValueError):
        told = "its base has no patch_embedding.weight: it is not Wan 2.1 text-to-video"
        raise _refused(file, f"cannot be merged, as {told}") from None
    hidden, features = found[keys["audio_proj.proj.weight"]]
    made = {
        **base,
        # what is drawn, the portrait, and which of it is known
        "patch_embedding.weight": (dim, 2 * channels + 1, *patch),
        "audio_proj.proj.weight": (hidden, features),
        "audio_proj.proj.bias": (hidden,),
        "audio_proj.norm_out.weight": (hidden,),
        "audio_proj.norm_out.bias": (hidden,),
    }
    for layer in range(_blocks(base) // 2 + 1 - FIRST):
        made[f"audio_cond_projs.{layer}.weight"] = (dim, hidden)
        made[f"audio_cond_projs.{layer}.bias"] = (dim,)
    return made


def _check_whole(file: Path, found: Shapes, wanted: Shapes) -> None:
    """Raise E_PIPELINE_LOAD where a whole tensor is lacking, unknown or of another shape."""
    keys = whole(found, file)
    needed = [name for name in wanted if name.startswith(OWN)]
    if lost := [name for name in needed if name not in keys]:
        raise _lacking(file, lost)
    if more := [name for name in keys if name not in wanted]:
        raise _refused(file, f"has {named(more)}, unknown to this model: is it of another size?")
    for name in needed:
        if (shape := found[keys[name]]) != wanted[name]:
            raise _refused(file, f"has {name} as {list(shape)}, not {list(wanted[name])}")


def _changed(known: Rules, wanted: Shapes) -> Iterator[str]:
    """Yield our names of the tensors that pairs change."""
    block = 0
    while renamed(f"blocks.{block}.ffn.0.weight", known) in wanted:
        for layer in LAYERS:
            yield renamed(f"blocks.{block}.{layer}.weight", known) or layer
        block += 1


def _blocks(base: Shapes) -> int:
    return sum(re.fullmatch(r"blocks\.\d+\.ffn\.0\.weight", name) is not None for name in base)


def _lacking(file: Path, lost: list[str]) -> TalkheadError:
    """Return the error for a checkpoint without some of its whole tensors."""
    why = "" if not lost[0].startswith("patch_") else ": the base's own takes too few channels"
    return _refused(file, f"lacks {named(lost)}{why}")


def _refused(file: Path, why: str) -> TalkheadError:
    return TalkheadError(Code.WEIGHTS, f"{file} {why}", ADVICE)
