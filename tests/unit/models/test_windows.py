import pytest

from talkhead.models.windows import Window, chunks, latent_frames


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (9, 3), (81, 21)])
def test_frames_to_latents(frames: int, latents: int) -> None:
    assert latent_frames(frames) == latents


def test_what_each_window_yields_is_the_whole_video() -> None:
    assert chunks([Window(0, 81, 0, 81), Window(72, 81, 9, 47)]) == (81, 47)
