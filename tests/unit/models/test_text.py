from pathlib import Path

import pytest
import torch
from transformers import UMT5Config, UMT5EncoderModel

from support import wan
from talkhead.errors import Code, TalkheadError
from talkhead.models import text

CPU = torch.device("cpu")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return wan.saved(wan.official_text(), tmp_path / "official.safetensors")


def reference() -> UMT5EncoderModel:
    """Return transformers' whole model with the same weights, put in place by hand."""
    config = UMT5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0
    )
    model = UMT5EncoderModel(config).eval()
    given = wan.official_text()
    with torch.no_grad():
        model.shared.weight.copy_(given["token_embedding.weight"])
        model.encoder.embed_tokens.weight.copy_(given["token_embedding.weight"])
        model.encoder.final_layer_norm.weight.copy_(given["norm.weight"])
        for index, block in enumerate(model.encoder.block):
            attention, feed = block.layer[0], block.layer[1]
            own = f"blocks.{index}"
            attention.layer_norm.weight.copy_(given[f"{own}.norm1.weight"])
            feed.layer_norm.weight.copy_(given[f"{own}.norm2.weight"])
            for name in "qkvo":
                linear = getattr(attention.SelfAttention, name)
                linear.weight.copy_(given[f"{own}.attn.{name}.weight"])
            positions = attention.SelfAttention.relative_attention_bias
            positions.weight.copy_(given[f"{own}.pos_embedding.embedding.weight"])
            dense = feed.DenseReluDense
            dense.wi_0.weight.copy_(given[f"{own}.ffn.gate.0.weight"])
            dense.wi_1.weight.copy_(given[f"{own}.ffn.fc1.weight"])
            dense.wo.weight.copy_(given[f"{own}.ffn.fc2.weight"])
    return model


def test_rows_are_those_of_a_padded_and_masked_run(official: Path) -> None:
    encoder = text.load_encoder([official], CPU, torch.float32)
    ids = torch.randint(3, 40, (1, 200), generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(ids, (0, text.TOKENS - 200))
    mask = torch.zeros(1, text.TOKENS, dtype=torch.long)
    mask[:, :200] = 1
    with torch.no_grad():
        wanted = reference()(input_ids=padded, attention_mask=mask).last_hidden_state[0, :200]
    found = text.rows(encoder, ids[0].tolist())
    assert (found - wanted).abs().max() <= 1e-5


def test_names_of_transformers(official: Path, tmp_path: Path) -> None:
    theirs = {
        name: value
        for name, value in reference().state_dict().items()
        if name != "encoder.embed_tokens.weight"  # a twin, which files leave out
    }
    halves = [dict(list(theirs.items())[part::2]) for part in (0, 1)]
    files = [wan.saved(half, tmp_path / f"{part}.safetensors") for part, half in enumerate(halves)]
    ids = [5, 6, 7, 1]
    one = text.load_encoder(files, CPU, torch.float32)
    other = text.load_encoder([official], CPU, torch.float32)
    assert torch.equal(text.rows(one, ids), text.rows(other, ids))


def test_texts_of_many_lengths(official: Path, tmp_path: Path) -> None:
    encoder = text.load_encoder([official], CPU, torch.bfloat16)
    tokenizer = text.load_tokenizer(wan.write_tokenizer(tmp_path / "words", "a woman speaks"))
    short, long, none = text.encode(encoder, tokenizer, ["a woman", "speaks " * 600, " "])
    assert short.shape == (3, 16)  # with the end mark
    assert long.shape == (text.TOKENS, 16)
    assert none.shape == (1, 16)
    assert short.dtype == torch.bfloat16
    precise = text.load_encoder([official], CPU, torch.float32)
    (wanted,) = text.encode(precise, tokenizer, ["a  woman\n"])
    assert (short.float() - wanted).norm() <= 2e-2 * wanted.norm()


def test_the_end_mark_survives_cutting(tmp_path: Path) -> None:
    tokenizer = text.load_tokenizer(wan.write_tokenizer(tmp_path, "word"))
    assert tokenizer.encode("word " * 600).ids[-2:] == [3, 1]
    assert tokenizer.encode("word other").ids == [3, 2, 1]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("  one\n\ttwo  ", "one two"),
        ("a &amp;amp; b", "a & b"),
        ("a < b &amp;lt; c", "a < b < c"),  # which ftfy takes for markup and leaves
        ("itâ€™s", "it's"),
        ("色调艳丽，过曝", "色调艳丽,过曝"),
        ("", ""),
    ],
)
def test_clean(given: str, wanted: str) -> None:
    assert text.clean(given) == wanted


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    whole = wan.official_text()
    few = {name: value for name, value in whole.items() if not name.startswith("token")}
    odd = whole | {"spiece_model": torch.zeros(3)}
    bad = whole | {"blocks.1.norm1.weight": torch.zeros(5)}
    less = {name: value for name, value in whole.items() if name != "blocks.1.ffn.fc1.weight"}
    for tensors, words in (
        (few, "no UMT5 encoder, embed_tokens"),
        (odd, "spiece_model"),
        (bad, "norm1"),
        (less, "wi_1"),
    ):
        file = wan.saved(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(TalkheadError, match=words) as caught:
            text.load_encoder([file], CPU, torch.float32)
        assert caught.value.code == Code.WEIGHTS


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=r"tokenizer\.json") as caught:
        text.load_tokenizer(tmp_path)
    assert caught.value.hint == "talkhead weights pull wan-tokenizer"
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TalkheadError, match="no tokenizer"):
        text.load_tokenizer(tmp_path)
