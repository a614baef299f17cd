"""What a server's answers mean."""

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve import replies

ANSWER = {"result": {"action": "talk"}}


@pytest.mark.parametrize("output", [ANSWER, [ANSWER], [{"stage": "render", "pct": 9}, ANSWER]])
def test_an_answer_alone_or_at_the_end_of_a_list(output: object) -> None:
    """RunPod's generator handler gives all that it has said."""
    assert replies.result({"status": "COMPLETED", "output": output}) == ANSWER["result"]


@pytest.mark.parametrize("output", [[], ["x"], None, "x"])
def test_what_is_no_answer_of_ours(output: object) -> None:
    with pytest.raises(TalkheadError) as caught:
        replies.result({"status": "COMPLETED", "output": output})
    assert caught.value.code is Code.UNSUPPORTED
