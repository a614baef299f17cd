import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from talkhead.errors import Code, TalkheadError
from talkhead.models import embeddings

TINY = "umt5-tiny"


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> list[Tensor]:
        self.asked.append(list(texts))
        return [torch.full((len(text), 2), 0.5, dtype=torch.bfloat16) for text in texts]


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    rows = torch.randn(7, 4).bfloat16()
    folder = tmp_path / "made" / "on demand"
    file = embeddings.keep(folder, TINY, "a prompt", rows[::1])
    found = embeddings.cached(folder, TINY, "a prompt")
    assert found is not None
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, rows)
    assert embeddings.cached(folder, TINY, "another") is None
    assert embeddings.cached(folder, "another encoder", "a prompt") is None
    assert list(folder.iterdir()) == [file]
    assert b"a prompt" not in file.read_bytes()


def test_names_last() -> None:
    """A folder that was filled once must be found by every later version of the same FORM."""
    assert embeddings.FORM == 1
    assert embeddings.key("umt5-xxl bf16", "ä woman") == (
        "f0f2b279704047304799a4cbcaed1761aa4d60a5abb3134753e5d219e1c53fe5"
    )


def test_only_what_lacks_is_encoded(tmp_path: Path) -> None:
    encoder = Counting()
    first = embeddings.prompts([tmp_path], TINY, ["one", "two", "one"], encoder)
    assert encoder.asked == [["one", "two"]]
    assert [rows.shape for rows in first] == [(3, 2)] * 3
    embeddings.prompts([tmp_path], TINY, ["two", "three"], encoder)
    assert encoder.asked[1:] == [["three"]]
    again = embeddings.prompts([tmp_path], TINY, ["three", "one"], None)
    assert [rows.shape[0] for rows in again] == [5, 3]


def test_a_second_folder_is_read_and_the_first_is_filled(tmp_path: Path) -> None:
    mine, given = tmp_path / "mine", tmp_path / "given"
    embeddings.keep(given, TINY, "one", torch.zeros(1, 2))
    encoder = Counting()
    embeddings.prompts([mine, given], TINY, ["one", "two"], encoder)
    assert encoder.asked == [["two"]]
    assert len(list(mine.iterdir())) == len(list(given.iterdir())) == 1


def test_neither_kept_nor_to_be_encoded(tmp_path: Path) -> None:
    embeddings.keep(tmp_path, TINY, "one", torch.zeros(1, 2))
    with pytest.raises(TalkheadError, match="1 of 2 prompts") as caught:
        embeddings.prompts([tmp_path], TINY, ["one", "two"], None)
    assert caught.value.code == Code.WEIGHTS
    assert "talkhead weights pull umt5-bf16 wan-tokenizer" in caught.value.hint


def test_a_write_that_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        embeddings.keep(tmp_path, TINY, "one", torch.zeros(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = embeddings.keep(tmp_path, TINY, "one", torch.zeros(50, 2))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TalkheadError, match=file.name) as caught:
        embeddings.cached(tmp_path, TINY, "one")
    assert caught.value.code == Code.WEIGHTS


def test_reading_needs_no_encoder() -> None:
    code = "import sys, talkhead.models.embeddings; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
