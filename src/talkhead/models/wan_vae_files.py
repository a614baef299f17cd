"""Files of Wan 2.1's VAE: official names (ComfyUI keeps them too), or a folder in diffusers' form.

diffusers' own converter is right for two residual blocks a stage and no other number, and takes the
sizes from elsewhere; here everything follows from the names and shapes in the file.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import ADVICE, shapes
from talkhead.models.loading import Rules, Source, load, rules, targets
from talkhead.models.wan_vae import channels_last as lay_out

Shapes = Mapping[str, tuple[int, ...]]

RESIDUAL = {
    r"residual\.0\.gamma": "norm1.gamma",
    r"residual\.2\.(weight|bias)": r"conv1.\1",
    r"residual\.3\.gamma": "norm2.gamma",
    r"residual\.6\.(weight|bias)": r"conv2.\1",
    r"shortcut\.(weight|bias)": r"conv_shortcut.\1",
}
RESAMPLE = {
    r"resample\.1\.(weight|bias)": r"resample.1.\1",
    r"time_conv\.(weight|bias)": r"time_conv.\1",
}
ATTENTION = {r"norm\.gamma": "norm.gamma", r"(to_qkv|proj)\.(weight|bias)": r"\1.\2"}
ENDS = {
    r"conv1\.(weight|bias)": r"quant_conv.\1",
    r"conv2\.(weight|bias)": r"post_quant_conv.\1",
    r"(encoder|decoder)\.conv1\.(weight|bias)": r"\1.conv_in.\2",
    r"(encoder|decoder)\.head\.0\.gamma": r"\1.norm_out.gamma",
    r"(encoder|decoder)\.head\.2\.(weight|bias)": r"\1.conv_out.\2",
}
UNCHANGED = rules({r"(.+)": r"\1"})
LATENTS = 16  # channels; those of Wan 2.2's newer VAE, with 48, mean something else


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file of official names shows of its VAE."""

    dim: int
    multiples: tuple[int, ...]  # of `dim`, the channels of each stage
    blocks: int  # residual blocks in each stage
    temporal: tuple[bool, ...]  # whether time is halved after each stage but the last


def load_vae(
    file: Path, device: torch.device, dtype: torch.dtype, *, channels_last: bool = False
) -> AutoencoderKLWan:
    """Return the VAE in a safetensors file, ready for inference.

    A file of diffusers' names needs its config.json beside it. Raises E_PIPELINE_LOAD where it is
    no VAE of Wan 2.1, or a tensor is missing, unknown or of the wrong shape.
    """
    found = shapes(file)
    config, names = _diffusers(file) if "encoder.conv_in.weight" in found else _official(file)

    def build() -> Any:
        made: Any = AutoencoderKLWan
        return made.from_config(config)

    model: Any = load(build, [Source((file,), names)], targets(device, dtype, ()))
    if channels_last:
        lay_out(model)
    vae: AutoencoderKLWan = model
    return vae


def layout_of(found: Shapes) -> Layout:
    """Return the layout behind official names; raises ValueError where they show none."""
    stages: list[list[int]] = [[]]  # channels after each residual block
    temporal = []
    for index in range(1 + max(_indices(found, "encoder.downsamples"), default=-1)):
        block = f"encoder.downsamples.{index}"
        if shape := found.get(f"{block}.residual.6.weight"):
            stages[-1].append(shape[0])
        else:
            temporal.append(f"{block}.time_conv.weight" in found)
            stages.append([])
    counts = {len(stage) for stage in stages}
    if len(counts) != 1 or 0 in counts:
        raise ValueError("its encoder has not the same number of residual blocks in every stage")
    dim, blocks = found["encoder.conv1.weight"][0], counts.pop()
    return Layout(dim, tuple(stage[-1] // dim for stage in stages), blocks, tuple(temporal))


def official_names(layout: Layout) -> Rules:
    """Return the rules from official names to diffusers', exact for any number of blocks."""
    table = dict(ENDS)
    for side in ("encoder", "decoder"):
        middle = f"{side}.mid_block"
        table |= _under(f"{side}.middle.0", f"{middle}.resnets.0", RESIDUAL)
        table |= _under(f"{side}.middle.1", f"{middle}.attentions.0", ATTENTION)
        table |= _under(f"{side}.middle.2", f"{middle}.resnets.1", RESIDUAL)
    stages = len(layout.multiples)
    for index in range(stages * (layout.blocks + 1) - 1):
        resampled = index % (layout.blocks + 1) == layout.blocks
        names = RESAMPLE if resampled else RESIDUAL
        table |= _under(f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}", names)
    per_stage = layout.blocks + 2  # the decoder has one residual block more
    for index in range(stages * per_stage - 1):
        stage, place = divmod(index, per_stage)
        ours = f"decoder.up_blocks.{stage}"
        if place == layout.blocks + 1:
            table |= _under(f"decoder.upsamples.{index}", f"{ours}.upsamplers.0", RESAMPLE)
        else:
            table |= _under(f"decoder.upsamples.{index}", f"{ours}.resnets.{place}", RESIDUAL)
    return rules(table)


def _official(file: Path) -> tuple[dict[str, Any], Rules]:
    """Return configuration and names of a file of official names."""
    found = shapes(file)
    channels = found.get("conv2.weight", (0,))[0]
    if channels != LATENTS or "encoder.conv1.weight" not in found:
        raise _refused(file, f"its latents have {channels} channels, not {LATENTS}")
    try:
        layout = layout_of(found)
    except ValueError as error:
        raise _refused(file, str(error)) from error
    config = {
        "base_dim": layout.dim,
        "z_dim": channels,
        "dim_mult": list(layout.multiples),
        "num_res_blocks": layout.blocks,
        "temperal_downsample": list(layout.temporal),
    }
    return config, official_names(layout)


def _diffusers(file: Path) -> tuple[dict[str, Any], Rules]:
    """Return configuration and names of a file in diffusers' form."""
    beside = file.with_name("config.json")
    try:
        config: dict[str, Any] = json.loads(beside.read_text())
    except (OSError, ValueError) as error:
        raise _refused(file, f"it needs {beside}, which cannot be read ({error})") from error
    if config.get("is_residual") or config.get("patch_size") or config.get("z_dim") != LATENTS:
        raise _refused(file, f"{beside} describes the newer one of Wan 2.2")
    return config, UNCHANGED


def _under(theirs: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a table of names with what stands before them on both sides."""
    return {rf"{re.escape(theirs)}\.{pattern}": f"{ours}.{name}" for pattern, name in names.items()}


def _indices(found: Shapes, prefix: str) -> set[int]:
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return {int(match[1]) for name in found if (match := pattern.match(name))}


def _refused(file: Path, why: str) -> TalkheadError:
    return TalkheadError(Code.WEIGHTS, f"{file} is no VAE of Wan 2.1: {why}", ADVICE)
