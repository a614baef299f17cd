"""All files of a tiny InfiniteTalk, random, as they are published, by their ids in the manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from support import infinitetalk, wan
from talkhead.engines import Supplies
from talkhead.errors import Code, TalkheadError
from talkhead.weights import File, manifest

SIZES = infinitetalk.TINY
WORDS = "a person is talking and smiling"
SOUND = {
    "conv_dim": [8] * 7,
    "hidden_size": SIZES["audio_channels"],
    "num_hidden_layers": SIZES["audio_blocks"],
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_conv_pos_embedding_groups": 2,
    "num_conv_pos_embeddings": 8,
}

PICKLED = {"wan-vae": "wan-vae-comfy", "wan-t5": "umt5-bf16", "wan-clip": "clip-vision-h"}
SIZED = ("infinitetalk-single-adapter", "infinitetalk-multi-adapter")  # checked by their shapes

Files = dict[str, tuple[Path, ...]]


def write(folder: Path, **other: int) -> Files:
    """Write an installation for one and for two speakers; return its files by id.

    `other` are sizes that differ from SIZES; those of speech are the encoder's too.
    """
    sizes = {**SIZES, **other}
    heard = {
        **SOUND,
        "hidden_size": sizes["audio_channels"],
        "num_hidden_layers": sizes["audio_blocks"],
    }
    base, single = infinitetalk.write(folder, infinitetalk.weights(sizes))
    double = folder / "multi.safetensors"
    weights = infinitetalk.weights(sizes, seed=9)
    save_file({k: v for k, v in weights.items() if infinitetalk.adapter_name(k)}, double)
    text = wan.official_text(dim=SIZES["text_dim"])
    torch.manual_seed(6)
    sound = Wav2Vec2Model(Wav2Vec2Config(**heard)).state_dict()
    vae = wan.official_vae(wan.vae(blocks=1, stages=(1, 1, 1, 1)))  # the least that is one
    tokenizer = wan.write_tokenizer(folder / "umt5-xxl", WORDS) / "tokenizer.json"
    return {
        "wan-i2v": (
            said({"weight_map": {}}, folder / "diffusion_pytorch_model.safetensors.index.json"),
            *base.files,
        ),
        "wan-i2v-config": (said({"num_heads": SIZES["num_heads"]}, folder / "config.json"),),
        "infinitetalk-single-adapter": single.files,
        "infinitetalk-multi-adapter": (double,),
        "wan-vae-comfy": (wan.saved(vae, folder / "vae.safetensors"),),
        "umt5-bf16": (wan.saved(text, folder / "umt5.safetensors"),),
        "wan-tokenizer": (
            said({}, tokenizer.with_name("special_tokens_map.json")),
            tokenizer,
        ),
        "clip-vision-h": (
            wan.saved(wan.official_clip(dim=SIZES["clip_dim"]), folder / "clip.safetensors"),
        ),
        "lightx2v-i2v-rank64": (wan.saved(_lora(), folder / "lora.safetensors"),),
        "wav2vec2-zh": (wan.saved(sound, folder / "wav2vec2.safetensors"),),
        "wav2vec2-zh-config": (said(heard, folder / "wav2vec2.json"),),
    }


def install(root: Path, *, pickles: bool = True, **other: int) -> dict[str, str]:
    """Write the same as their repositories have it, below a weights folder; return settings.

    The VAE and the encoders of text and picture come as official pickles, which have to be
    converted, unless they are not wanted. A manifest beside it leaves out the published sizes.
    """
    with TemporaryDirectory() as name:
        files = write(Path(name), **other)
        for pickle, ours in PICKLED.items() if pickles else ():
            torch.save(load_file(files.pop(ours)[0]), Path(name) / pickle)
            files[pickle] = (Path(name) / pickle,)
        place(files, root)
    text = "".join(
        f'[repos."{file.repo.name}"]\nrevision = "{file.repo.revision}"\n'
        for file in {f.repo.name: f for f in map(manifest().files.__getitem__, SIZED)}.values()
    )
    for entry in SIZED:
        file = manifest().files[entry]
        text += f'[files.{entry}]\nrepo = "{file.repo.name}"\npath = "{file.path}"\n'
    own = root / "tiny.toml"
    own.write_text(text)
    return {"TALKHEAD_WEIGHTS": str(root), "TALKHEAD_WEIGHTS_MANIFEST": str(own)}


def place(files: Files, root: Path) -> None:
    """Move files to where a pull would have put them."""
    for entry, paths in files.items():
        _place(manifest().files[entry], paths, root)


def _place(file: File, paths: tuple[Path, ...], root: Path) -> None:
    place = root / file.place
    for path in paths:
        target = place if file.single else place.parent / path.name
        if file.path.endswith("/"):
            target = place / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _lora() -> dict[str, torch.Tensor]:
    """Return a change of rank 2 to one layer, meant to be made at half strength."""
    made = torch.Generator().manual_seed(7)
    layer = "diffusion_model.blocks.1.self_attn.q"
    return {
        f"{layer}.lora_down.weight": torch.randn(2, SIZES["dim"], generator=made),
        f"{layer}.lora_up.weight": torch.randn(SIZES["dim"], 2, generator=made),
        f"{layer}.alpha": torch.tensor(1.0),
    }


def said(content: object, file: Path) -> Path:
    """Write a JSON file; return it."""
    file.write_text(json.dumps(content))
    return file


def finder(files: Files) -> Callable[..., tuple[Path, ...]]:
    """Return what the engine is given to find its files with."""

    def find(*names: str) -> tuple[Path, ...]:
        for name in names:
            if name in files:
                return files[name]
        raise TalkheadError(Code.WEIGHTS, f"{names[0]} is not there", "pull it")

    return find


def supplies(files: Files, prompts: Path) -> Supplies:
    """Return what the engine is built of."""
    return Supplies(finder(files), lambda paths: f"{len(paths)} files", (prompts,), "cpu")
