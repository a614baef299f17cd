from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from talkhead.models import sampling


def test_new_frames_and_the_last_of_them_are_collected() -> None:
    told: list[str] = []

    def pieces() -> Iterator[Tensor]:
        try:
            for begin, end in (0, 1), (1, 5), (5, 9), (9, 13):
                told.append(f"piece {begin}")
                yield torch.arange(begin, end)[:, None, None, None].expand(-1, 3, 2, 2) / 255
        finally:
            told.append("closed")

    made = pieces()
    frames, last = sampling.collect(made, 3, 6, 2, lambda: None)
    assert frames[:, 0, 0, 0].tolist() == [3, 4, 5, 6, 7, 8]
    assert last is not None
    assert np.rint(last[:, 0, 0, 0].numpy() * 255).tolist() == [7, 8]
    # what decoding carries from piece to piece is let go while `made` is still at hand
    assert told == ["piece 0", "piece 1", "piece 5", "closed"]
