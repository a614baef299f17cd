"""Which files are taken, by what is asked for and what is here."""

from pathlib import Path
from typing import Any

import pytest

from support.installation import finder
from talkhead.engines.infinitetalk.choice import (
    ADAPTERS,
    BLOCKS,
    CAST,
    FULL,
    GGUF,
    SCALED,
    WHOLE,
    Choice,
    choice_of,
    transformer,
    ways,
)
from talkhead.engines.infinitetalk.published import NETWORK
from talkhead.errors import Code, TalkheadError
from talkhead.models.wan_files import SMALL_TEXT, TEXT
from talkhead.weights import manifest

ASKED = {"lora": None, "lora_strength": 1.0, "lora_alpha": "ignore", "quant": None, "base": None}
ADAPTER = "infinitetalk-single-adapter"


def taken(*here: str, **choice: Any) -> str:
    found = transformer(finder({name: (Path(name),) for name in here}), Choice(1, **choice))
    return " ".join((found.id, *(path.name for path in found.adapter)))


def test_all_ids_are_in_the_manifest() -> None:
    ids = {FULL, CAST, *GGUF, *TEXT, *SMALL_TEXT}
    for table in (*WHOLE.values(), ADAPTERS, SCALED):
        ids |= set(table.values())
    assert ids | {name for names in BLOCKS.values() for name in names} <= set(manifest().files)


@pytest.mark.parametrize(
    ("quant", "here", "found"),
    [
        (None, (FULL, ADAPTER, WHOLE["fp8"][1]), f"{FULL} {ADAPTER}"),
        (None, (FULL, WHOLE["fp8"][1]), WHOLE["fp8"][1]),
        (None, ("wan-i2v-q4", "wan-i2v-q8", ADAPTER), f"wan-i2v-q8 {ADAPTER}"),
        (None, (FULL, "infinitetalk-single-q8"), f"{FULL} infinitetalk-single-q8"),
        ("fp8", (FULL, ADAPTER, WHOLE["fp8"][1]), WHOLE["fp8"][1]),
        ("fp8", (FULL, ADAPTER, CAST, SCALED[1]), f"{CAST} {SCALED[1]}"),
        ("fp8", (FULL, ADAPTER, WHOLE["int8"][1]), f"{FULL} {ADAPTER}"),
        ("int8", (FULL, ADAPTER, WHOLE["fp8"][1]), f"{FULL} {ADAPTER}"),
        ("int8", (FULL, ADAPTER, WHOLE["int8"][1]), WHOLE["int8"][1]),
        (
            "gguf",
            (FULL, ADAPTER, "wan-i2v-q5", "infinitetalk-single-q6"),
            "wan-i2v-q5 infinitetalk-single-q6",
        ),
    ],
)
def test_the_best_that_is_here(quant: Any, here: tuple[str, ...], found: str) -> None:
    assert taken(*here, quant=quant) == found


def test_a_base_that_is_named() -> None:
    here = FULL, ADAPTER, "wan-i2v-q4", WHOLE["int8"][1]
    assert taken(*here, base="wan-i2v-q4") == f"wan-i2v-q4 {ADAPTER}"
    assert taken(*here, base=WHOLE["int8"][1]) == WHOLE["int8"][1]
    with pytest.raises(TalkheadError, match="wan-i2v-q8 is not there") as caught:
        taken(*here, base="wan-i2v-q8")
    assert caught.value.code is Code.WEIGHTS

    def strict(name: str, *_others: str) -> tuple[Path, ...]:
        raise TalkheadError(Code.INTERNAL, f"no file of weights is called {name!r}")

    with pytest.raises(TalkheadError, match="'my-own'") as caught:
        transformer(strict, Choice(1, base="my-own"))
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("options.base",))
    assert "wan-i2v-q8" in caught.value.hint


def test_what_is_lacking_beside_what_is_here_is_named() -> None:
    for here, name in (((), FULL), (("wan-i2v-q4",), ADAPTER), ((ADAPTER,), FULL)):
        with pytest.raises(TalkheadError, match=f"^{name} is not there"):
            taken(*here)


def test_unknown_kinds_are_refused_with_the_known_ones() -> None:
    choice = choice_of({**ASKED, "quant": "int8", "base": FULL}, 2)
    assert choice == Choice(2, None, quant="int8", base=FULL)
    with pytest.raises(TalkheadError, match="'q4', only fp8, int8, gguf") as caught:
        choice_of({**ASKED, "quant": "q4"}, 1)
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("memory.quant",))


def test_two_speakers_have_their_own() -> None:
    ids = {name for base, adapters in ways(Choice(2)) for name in (base, *adapters)}
    assert not any("single" in name for name in ids)


def test_quantised_weights_take_half() -> None:
    plain, less = NETWORK.weights(2), NETWORK.quantised(2).weights(2)
    assert less.whole < 0.52 * plain.whole
    assert (less.streamed, less.block) == (plain.streamed // 2, plain.block // 2)
