"""Prompts to rows of numbers: Wan 2.1's UMT5 encoder and its tokenizer.

The encoder is transformers' UMT5; its weights may have the official names or transformers' own.
What has been encoded once is kept by `embeddings`, which needs none of this.
"""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import ftfy
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel
from transformers.models.umt5.modeling_umt5 import UMT5Stack

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import ADVICE
from talkhead.models.loading import Source, load, rules, stored, targets

TOKENS = 512  # of a prompt, its end mark included; what is longer is cut
MAX_DISTANCE = 128  # in tokens, from which on all are equally far

_BLOCK = r"block.\1.layer."
NAMES = rules(
    {
        # official
        r"token_embedding\.weight": "embed_tokens.weight",
        r"blocks\.(\d+)\.norm1\.weight": rf"{_BLOCK}0.layer_norm.weight",
        r"blocks\.(\d+)\.attn\.([qkvo])\.weight": rf"{_BLOCK}0.SelfAttention.\2.weight",
        r"blocks\.(\d+)\.pos_embedding\.embedding\.weight": (
            rf"{_BLOCK}0.SelfAttention.relative_attention_bias.weight"
        ),
        r"blocks\.(\d+)\.norm2\.weight": rf"{_BLOCK}1.layer_norm.weight",
        r"blocks\.(\d+)\.ffn\.gate\.0\.weight": rf"{_BLOCK}1.DenseReluDense.wi_0.weight",
        r"blocks\.(\d+)\.ffn\.fc1\.weight": rf"{_BLOCK}1.DenseReluDense.wi_1.weight",
        r"blocks\.(\d+)\.ffn\.fc2\.weight": rf"{_BLOCK}1.DenseReluDense.wo.weight",
        r"norm\.weight": "final_layer_norm.weight",
        # transformers', of a whole encoder model
        r"shared\.weight": "embed_tokens.weight",
        r"encoder\.(block\..+|final_layer_norm\.weight)": r"\1",
    }
)


def load_encoder(
    files: Sequence[Path], device: torch.device, dtype: torch.dtype, *, distance: int = MAX_DISTANCE
) -> UMT5Stack:
    """Return the encoder in safetensors files, all its sizes taken from their headers.

    Raises E_PIPELINE_LOAD where a tensor is missing, unknown or of the wrong shape.
    """
    source = Source(tuple(files), NAMES)
    config = config_of(source)
    config.relative_attention_max_distance = distance

    def build() -> UMT5Stack:
        encoder: UMT5Stack = UMT5EncoderModel(config).encoder
        return encoder

    return load(build, [source], targets(device, dtype, ()))


def config_of(source: Source) -> UMT5Config:
    """Return the sizes of the encoder in these files; raises E_PIPELINE_LOAD where it is none."""
    found = stored([source])
    attention = "block.0.layer.0.SelfAttention"
    vocabulary, dim = _matrix(found, "embed_tokens.weight", source)
    inner, _ = _matrix(found, f"{attention}.q.weight", source)
    buckets, heads = _matrix(found, f"{attention}.relative_attention_bias.weight", source)
    hidden, _ = _matrix(found, "block.0.layer.1.DenseReluDense.wi_0.weight", source)
    return UMT5Config(
        vocab_size=vocabulary,
        d_model=dim,
        d_kv=inner // heads,
        d_ff=hidden,
        num_layers=sum(name.endswith(".SelfAttention.q.weight") for name in found),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        layer_norm_epsilon=1e-6,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in a folder's tokenizer.json, cutting at TOKENS and padding nothing.

    Raises E_PIPELINE_LOAD where the file is missing or damaged.
    """
    file = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises nothing narrower
        raise TalkheadError(
            Code.WEIGHTS, f"{file} is no tokenizer: {error}", "talkhead weights pull wan-tokenizer"
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return tokenizer


def clean(text: str) -> str:
    """Return a prompt as the encoder was trained to see it.

    Broken characters are mended, HTML entities replaced twice over, and runs of white space made
    one space (Wan 2.1's "whitespace" cleaning).
    """
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def encode(encoder: UMT5Stack, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tensor]:
    """Return (tokens, dim) for each text, where and as what the encoder computes.

    The rows end with the text: what pads them to TOKENS further on is zeros, in Wan 2.1.
    """
    return [rows(encoder, tokenizer.encode(clean(text)).ids) for text in texts]


def rows(encoder: UMT5Stack, ids: Sequence[int]) -> Tensor:
    """Return (tokens, dim): the encoder's last output for one text.

    Padding is masked in the official code; here there is none, which gives the same rows sooner.
    """
    given = torch.tensor([list(ids)], device=encoder.final_layer_norm.weight.device)
    with torch.no_grad():
        made: Tensor = encoder(input_ids=given).last_hidden_state  # (1, tokens, dim)
    return made[0]


def _matrix(found: Mapping[str, tuple[int, ...]], name: str, source: Source) -> tuple[int, int]:
    """Return the shape of a tensor that every such encoder has."""
    shape = found.get(name, ())
    if len(shape) != 2:
        files, state = ", ".join(map(str, source.files)), list(shape) or "missing"
        raise TalkheadError(Code.WEIGHTS, f"{files}: no UMT5 encoder, {name} is {state}", ADVICE)
    return shape[0], shape[1]
