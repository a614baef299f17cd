"""A picture to the rows that condition Wan 2.1: the next to last layer of its CLIP image tower.

The tower is transformers' CLIP vision model without what comes after that layer, which is neither
loaded nor run; its weights may have the official names or transformers' own.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import ADVICE, opened, shapes

HEADS = 16  # of ViT-H/14; the only size that a checkpoint does not show
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Take = Callable[[Tensor], Tensor]


class Part(NamedTuple):
    """Which tensor of a file, and what of it, is one of ours."""

    key: str
    take: Take


def _third(index: int) -> Take:
    return lambda tensor: tensor.chunk(3)[index]


def _rows(tensor: Tensor) -> Tensor:
    return tensor.flatten(0, -2)


def _whole(tensor: Tensor) -> Tensor:
    return tensor


_LAYER = r"encoder.layers.\1."
OFFICIAL: dict[str, tuple[tuple[str, Take], ...]] = {
    r"cls_embedding": (("embeddings.class_embedding", Tensor.flatten),),
    r"pos_embedding": (("embeddings.position_embedding.weight", _rows),),
    r"patch_embedding\.weight": (("embeddings.patch_embedding.weight", _whole),),
    r"pre_norm\.(weight|bias)": ((r"pre_layrnorm.\1", _whole),),  # transformers' spelling
    r"post_norm\.(weight|bias)": ((r"post_layernorm.\1", _whole),),
    r"transformer\.(\d+)\.norm([12])\.(weight|bias)": ((rf"{_LAYER}layer_norm\2.\3", _whole),),
    r"transformer\.(\d+)\.attn\.to_qkv\.(weight|bias)": (
        (rf"{_LAYER}self_attn.q_proj.\2", _third(0)),
        (rf"{_LAYER}self_attn.k_proj.\2", _third(1)),
        (rf"{_LAYER}self_attn.v_proj.\2", _third(2)),
    ),
    r"transformer\.(\d+)\.attn\.proj\.(weight|bias)": (
        (rf"{_LAYER}self_attn.out_proj.\2", _whole),
    ),
    r"transformer\.(\d+)\.mlp\.0\.(weight|bias)": ((rf"{_LAYER}mlp.fc1.\2", _whole),),
    r"transformer\.(\d+)\.mlp\.2\.(weight|bias)": ((rf"{_LAYER}mlp.fc2.\2", _whole),),
}
THEIRS = re.compile(r"(?:vision_model\.)?((?:embeddings|pre_layrnorm|encoder|post_layernorm)\..+)")
# The other tower, and what makes one vector of this one's rows.
UNUSED = re.compile(
    r"textual\..+|log_scale|visual\.head|text_model\..+|text_projection\.weight|logit_scale"
    r"|visual_projection\.weight|(vision_model\.)?embeddings\.position_ids"
)
TAIL = "post_layernorm."


def load_tower(
    file: Path, device: torch.device, dtype: torch.dtype, *, heads: int = HEADS
) -> CLIPVisionModel:
    """Return the tower in a safetensors file, up to its next to last layer.

    Raises E_PIPELINE_LOAD where a tensor is missing, unknown or of the wrong shape.
    """
    parts = _parts(file)
    layers = 1 + max((_layer(name) for name in parts), default=-1)
    last = f"encoder.layers.{layers - 1}."
    parts = {name: part for name, part in parts.items() if not name.startswith((last, TAIL))}
    config = _config(file, parts, layers - 1, heads)
    with torch.device("meta"):
        model: Any = CLIPVisionModel(config)
    model.post_layernorm = torch.nn.Identity()
    with opened(file) as tensors:
        given = {
            name: part.take(tensors.get_tensor(part.key)).to(device, dtype, copy=True)
            for name, part in parts.items()
        }
    _compare(file, model.state_dict(), given)
    model.load_state_dict(given, assign=True)
    embeddings = model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions, device=device)[None]
    tower: CLIPVisionModel = model.eval().requires_grad_(False)
    return tower


def pixel_values(pictures: Tensor, size: int) -> Tensor:
    """Return f32 (b, 3, size, size), normalised, of f32 (b, 3, h, w) in -1..1.

    Squashed to a square without cropping, bicubic, not smoothed first, as Wan 2.1 does it.
    """
    square = functional.interpolate(
        pictures.float(), size=(size, size), mode="bicubic", align_corners=False
    )
    mean = torch.tensor(MEAN, device=square.device)[:, None, None]
    std = torch.tensor(STD, device=square.device)[:, None, None]
    return (square * 0.5 + 0.5 - mean) / std


def encode(tower: CLIPVisionModel, pictures: Tensor) -> Tensor:
    """Return f32 (b, 1 + patches, dim) of f32 (b, 3, h, w) in -1..1: 257 rows with ViT-H/14.

    The next to last layer's output, the class token first, without a norm.
    """
    model: Any = tower
    weight = model.embeddings.patch_embedding.weight
    with torch.no_grad():
        pixels = pixel_values(pictures.to(weight.device), model.config.image_size)
        hidden = model.pre_layrnorm(model.embeddings(pixels.to(weight.dtype)))
        made: Tensor = model.encoder(inputs_embeds=hidden).last_hidden_state
    return made.float()


def _parts(file: Path) -> dict[str, Part]:
    """Return where the tower's tensors are in a file, by transformers' names."""
    parts: dict[str, Part] = {}
    strange = []
    for key in shapes(file):
        if UNUSED.fullmatch(key):
            continue
        found = _named(key)
        parts |= {name: Part(key, take) for name, take in found}
        if not found:
            strange.append(key)
    if strange:
        raise _refused(file, [f"{key} is unknown" for key in strange])
    return parts


def _named(key: str) -> list[tuple[str, Take]]:
    """Return our names of a published tensor, each with what is taken of it."""
    if match := THEIRS.fullmatch(key):
        return [(match[1], _whole)]
    if not key.startswith("visual."):
        return []
    for pattern, made in OFFICIAL.items():
        if match := re.fullmatch(pattern, key.removeprefix("visual.")):
            return [(match.expand(name), take) for name, take in made]
    return []


def _layer(name: str) -> int:
    match = re.match(r"encoder\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _config(file: Path, parts: Mapping[str, Part], layers: int, heads: int) -> CLIPVisionConfig:
    """Return the tower's sizes, read from shapes."""
    wanted = {
        "embeddings.patch_embedding.weight": 4,
        "embeddings.position_embedding.weight": 2,
        "encoder.layers.0.mlp.fc1.weight": 2,
    }
    given = shapes(file)
    found = {name: given[parts[name].key] for name in wanted if name in parts}
    if lost := [name for name, axes in wanted.items() if len(found.get(name, ())) < axes]:
        raise _refused(file, [f"{name} is missing" for name in lost])
    dim, _, _, patch = found["embeddings.patch_embedding.weight"]
    positions = found["embeddings.position_embedding.weight"][-2]
    hidden = found["encoder.layers.0.mlp.fc1.weight"][0]
    config = CLIPVisionConfig(
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=math.isqrt(positions - 1) * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    config._attn_implementation = "sdpa"
    return config


def _compare(file: Path, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raise E_PIPELINE_LOAD unless names and shapes are the same."""
    problems = [f"{name} is missing" for name in wanted.keys() - given.keys()]
    problems += [f"{name} is unknown" for name in given.keys() - wanted.keys()]
    problems += [
        f"{name} is {list(given[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if problems:
        raise _refused(file, sorted(problems))


def _refused(file: Path, problems: list[str]) -> TalkheadError:
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return TalkheadError(
        Code.WEIGHTS, f"{file} is no CLIP image tower: {', '.join(problems[:3])}{more}", ADVICE
    )
