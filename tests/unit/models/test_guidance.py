from itertools import product

import pytest
import torch

from talkhead.models import guidance
from talkhead.models.guidance import Averages
from talkhead.models.passes import Guidance, Pass, Projection, passes_needed

SCALES = (0.0, 1.0, 2.0, 5.0)
BOTH, AUDIO, TEXT, NEITHER = Pass.BOTH, Pass.AUDIO, Pass.TEXT, Pass.NEITHER


def outputs() -> dict[Pass, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, 3, 5, 6, generator=generator) for name in Pass}


def official(found: dict[Pass, torch.Tensor], text: float, audio: float) -> torch.Tensor:
    if text == 1:
        return found[TEXT] + audio * (found[BOTH] - found[TEXT])
    by_text, by_audio = found[BOTH] - found[AUDIO], found[AUDIO] - found[NEITHER]
    return found[NEITHER] + text * by_text + audio * by_audio


@pytest.mark.parametrize(
    ("text", "audio", "needed"),
    [
        (1, 1, {BOTH}),
        (1, 2, {BOTH, TEXT}),
        (1, 0, {TEXT}),
        (5, 4, {BOTH, AUDIO, NEITHER}),
        (5, 1, {BOTH, AUDIO}),
        (5, 5, {BOTH, NEITHER}),
    ],
)
def test_only_what_is_needed_is_run(text: float, audio: float, needed: set[Pass]) -> None:
    assert set(passes_needed(Guidance(text, audio))) == needed


@pytest.mark.parametrize(("text", "audio"), list(product(SCALES, SCALES)))
def test_the_sum_is_the_official_one(text: float, audio: float) -> None:
    found, wanted = outputs(), Guidance(text, audio)
    run = {name: found[name] for name in passes_needed(wanted)}
    made = guidance.combine(run, wanted)
    torch.testing.assert_close(made, official(found, text, audio), atol=1e-5, rtol=0)


def test_one_pass_is_returned_as_it_is() -> None:
    found = outputs()
    assert guidance.combine({BOTH: found[BOTH]}, Guidance(1, 1)) is found[BOTH]


def test_a_pass_that_is_all_is_returned_as_it_is() -> None:
    found = outputs()
    assert guidance.blend({TEXT: found[TEXT]}, {TEXT: 1.0}) is found[TEXT]
    half = guidance.blend(found, {TEXT: 0.5})
    torch.testing.assert_close(half, found[TEXT] / 2)


@pytest.mark.parametrize(
    ("text", "audio", "needed"),
    [(1, 1, 1), (1, 3, 2), (5, 1, 2), (5, 5, 3), (5, 4, 3)],
)
def test_projection_needs_every_difference(text: float, audio: float, needed: int) -> None:
    wanted = Guidance(text, audio)
    passes = passes_needed(wanted, projected=True)
    assert len(passes) == needed
    found = {name: value for name, value in outputs().items() if name in passes}
    velocity, averages = guidance.combine_projected(found, wanted, Projection(), Averages())
    assert velocity.isfinite().all()
    assert (averages.text is None, averages.audio is None) == (text == 1, audio == 1)


def test_what_is_parallel_is_taken_out_and_the_norm_is_limited() -> None:
    found = outputs()
    term = guidance.project(100 * found[AUDIO], found[BOTH], 55.0)
    assert abs(float((term * found[BOTH]).sum())) < 1e-2
    assert term.norm() <= 55.0 + 1e-3


def test_each_video_of_a_batch_has_its_own_norm() -> None:
    found = outputs()
    pair = torch.stack([found[AUDIO] * 100, found[TEXT]])
    along = torch.stack([found[BOTH], found[NEITHER]])
    for index, made in enumerate(guidance.project(pair, along, 55.0)):
        torch.testing.assert_close(made, guidance.project(pair[index], along[index], 55.0))


def test_averages_are_passed_on_and_not_changed() -> None:
    found, wanted = outputs(), Guidance(5, 4)
    _, first = guidance.combine_projected(found, wanted, Projection(), Averages())
    assert first.text is not None
    before = first.text.clone()
    later, second = guidance.combine_projected(found, wanted, Projection(), first)
    again, _ = guidance.combine_projected(found, wanted, Projection(), first)
    assert torch.equal(later, again)
    assert torch.equal(first.text, before)
    assert second.text is not None
    torch.testing.assert_close(second.text, (1 - 0.75) * before)
    # no momentum, no history: a window begins anew
    alone, _ = guidance.combine_projected(found, wanted, Projection(momentum=0), first)
    fresh, _ = guidance.combine_projected(found, wanted, Projection(), Averages())
    torch.testing.assert_close(alone, fresh)


def test_small_terms_at_no_momentum_are_plain_guidance_less_the_parallel_part() -> None:
    found, wanted = outputs(), Guidance(1, 3)
    settings = Projection(momentum=0, norm_threshold=1e9)
    made, _ = guidance.combine_projected(found, wanted, settings, Averages())
    plain = guidance.combine(found, wanted)
    flat = found[BOTH].flatten()
    share = (plain - made).flatten()
    torch.testing.assert_close(share, (share @ flat) / (flat @ flat) * flat, atol=1e-4, rtol=0)
