"""Of two questions under way at once, the newest is answered."""

from talkhead.serve.ui.turns import Turns


def test_an_older_answer_is_not_shown_whenever_it_comes() -> None:
    turns = Turns()
    assert turns.begin(1)
    assert turns.begin(2)  # asked while the first is at work
    assert not turns.holds(1)  # and it ends later
    assert turns.holds(2)
    assert not turns.begin(1)  # or begins later
    assert turns.begin(3)
