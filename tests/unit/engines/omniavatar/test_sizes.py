import pytest

from talkhead.engines import choose_bucket
from talkhead.engines.omniavatar.sizes import BUCKETS_480, BUCKETS_720, chunk_frames, tokens_for


@pytest.mark.parametrize(
    ("picture", "small", "large"),
    [
        ((1080, 1920), (400, 720), (720, 1280)),
        ((1000, 1000), (720, 720), (720, 720)),
        ((1920, 1080), (720, 400), (1280, 720)),
        ((300, 1000), (400, 720), (528, 960)),
        ((1740, 1000), (720, 400), (1280, 720)),
        ((1000, 300), (720, 400), (960, 528)),
    ],
)
def test_the_nearest_ratio_is_chosen(
    picture: tuple[int, int], small: tuple[int, int], large: tuple[int, int]
) -> None:
    for buckets, wanted in ((BUCKETS_480, small), (BUCKETS_720, large)):
        height, width = picture
        official = min(
            [(bucket.height, bucket.width) for bucket in buckets],
            key=lambda size: abs(size[0] / size[1] - height / width),
        )
        chosen = choose_bucket(height, width, buckets)
        assert (chosen.height, chosen.width) == official == wanted


def test_of_equals_the_first_is_taken() -> None:
    middle = (BUCKETS_480[0].ratio + BUCKETS_480[1].ratio) / 2
    assert choose_bucket(int(middle * 9000), 9000, BUCKETS_480) == BUCKETS_480[0]


def test_sides_fit_the_network() -> None:
    for bucket in (*BUCKETS_480, *BUCKETS_720):
        assert bucket.height % 16 == bucket.width % 16 == 0
        assert bucket.ratio == bucket.height / bucket.width


@pytest.mark.parametrize(
    ("height", "width", "frames"),
    [
        (400, 720, 105),
        (720, 400, 105),
        (720, 720, 57),
        (720, 1280, 33),
        (1280, 720, 33),
        (528, 960, 57),
        (960, 528, 57),
    ],
)
def test_chunks_of_the_trained_sizes(height: int, width: int, frames: int) -> None:
    assert chunk_frames(height, width) == frames


def test_chunks_are_as_long_as_officially() -> None:
    for max_tokens in range(1, 400):
        for height, width in ((32, 48), (48, 64), (64, 64), (32, 96)):
            frames = int(max_tokens * 1024 / height / width)
            wanted = frames // 4 * 4 + 1 if frames % 4 else frames - 3
            assert chunk_frames(height, width, max_tokens) == wanted
            assert wanted % 4 == 1


def test_the_least_tokens_for_a_length() -> None:
    for height, width in ((32, 48), (400, 720), (720, 1280), (528, 960)):
        for frames in range(5, 110, 4):
            tokens = tokens_for(frames, height, width)
            assert chunk_frames(height, width, tokens) >= frames
            assert chunk_frames(height, width, tokens - 1) < frames
