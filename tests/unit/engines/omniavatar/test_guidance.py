from itertools import product

import pytest
import torch

from talkhead.engines.omniavatar.guidance import weights
from talkhead.models.guidance import blend
from talkhead.models.passes import Guidance, Pass

BOTH, TEXT, NEITHER = Pass.BOTH, Pass.TEXT, Pass.NEITHER


@pytest.mark.parametrize(
    ("text", "audio", "needed"),
    [
        (1, 1, {BOTH}),
        (4.5, 4.5, {BOTH, NEITHER}),
        (4.5, 3, {BOTH, TEXT, NEITHER}),
        (1, 3, {BOTH, TEXT}),
        (3, 0, {TEXT, NEITHER}),
        (0, 0, {NEITHER}),
    ],
)
def test_only_what_is_needed_is_run(text: float, audio: float, needed: set[Pass]) -> None:
    shares = weights(Guidance(text, audio))
    assert set(shares) == needed
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("text", "audio"), list(product((0, 1.0, 3.0, 4.5), repeat=2)))
def test_the_sum_is_the_official_one(text: float, audio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    found = {name: torch.randn(4, 3, 5, 6, generator=generator) for name in Pass}
    both, quiet, neither = found[BOTH], found[TEXT], found[NEITHER]
    wanted = neither + text * (quiet - neither) + audio * (both - quiet)
    shares = weights(Guidance(text, audio))
    made = blend({name: found[name] for name in shares}, shares)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)
    if text == audio:
        torch.testing.assert_close(made, neither + text * (both - neither), atol=1e-5, rtol=0)
