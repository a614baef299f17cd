"""`talkhead weights prompts`: workers without the text encoder need the engines' own as well."""

from typing import Any

import pytest
from typer.testing import CliRunner

from talkhead.engines import infinitetalk, omniavatar
from talkhead.models import wan_text
from talkhead.serve.cli import app


def test_prompts_of_all_engines_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def encode_texts(_files: Any, _folders: Any, texts: list[str], _there: Any) -> None:
        encoded.extend(texts)

    monkeypatch.setattr(wan_text, "encode_texts", encode_texts)
    monkeypatch.setenv("TALKHEAD_DEVICE", "cpu")
    ended = CliRunner().invoke(app, ["weights", "prompts", "a woman sings"])
    assert ended.exit_code == 0, ended.output
    own = {(one.PROMPT, one.NEGATIVE_PROMPT) for one in (infinitetalk, omniavatar)}
    assert set(encoded) == {"a woman sings", *(text for both in own for text in both)}
    assert len(encoded) == len(set(encoded))
