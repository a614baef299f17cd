"""Boxes are written as the standard has them, and found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkhead.media.boxes import box, children, full_box, inside

NAMES = st.binary(min_size=4, max_size=4)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=50))))
def test_what_is_written_is_read(items: list[tuple[bytes, bytes]]) -> None:
    written = b"".join(box(name, content) for name, content in items)
    assert list(children(written)) == items
    if items:
        assert inside(box(b"outs", written), b"outs", items[0][0]) == items[0][1]


def test_a_box_by_hand() -> None:
    assert box(b"free", b"ab", b"c") == b"\0\0\0\x0bfreeabc"
    assert full_box(b"tfdt", 1, 0x20, b"x") == b"\0\0\0\x0dtfdt\x01\0\0\x20x"


@pytest.mark.parametrize("data", [b"\0\0\0", b"\0\0\0\x07free", b"\0\0\0\x20freeab"])
def test_what_does_not_fit_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="box"):
        list(children(data))
    with pytest.raises(ValueError, match="box"):
        inside(box(b"moov"), b"trak")
