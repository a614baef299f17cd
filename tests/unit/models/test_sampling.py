from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from talkhead.models import sampling


def test_new_frames_and_the_last_of_them_are_collected() -> None:
    told: list[int] = []

    def pieces() -> Iterator[Tensor]:
        for begin, end in (0, 1), (1, 5), (5, 9), (9, 13):
            told.append(begin)
            yield torch.arange(begin, end)[:, None, None, None].expand(-1, 3, 2, 2) / 255

    frames, last = sampling.collect(pieces(), 3, 6, 2, lambda: None)
    assert frames[:, 0, 0, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert last is not None
    assert np.rint(last[:, 0, 0, 0].numpy() * 255).tolist() == [7, 8]
    assert told == [0, 1, 5]
