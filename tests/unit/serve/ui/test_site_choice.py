"""What the page talks to."""

import pytest

from talkhead.serve.ui.site import Site


@pytest.mark.parametrize(
    ("place", "base", "key"),
    [
        (None, "http://first", "first-key"),
        ({"base": "", "key": ""}, "http://first", "first-key"),
        ({"base": "", "key": "typed"}, "http://first", "typed"),
        ({"base": "http://other", "key": "typed"}, "http://other", "typed"),
        ({"base": "http://other", "key": ""}, "http://other", None),  # not the first one's key
    ],
)
def test_a_client_of_the_server_that_was_chosen(
    place: dict[str, str] | None, base: str, key: str | None
) -> None:
    with Site("http://first", "first-key", choose=True).open(place) as client:
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        assert (client.base, client._calls._own) == (base, sent)
    with Site("http://first", "first-key").open({"base": "http://other"}) as client:
        assert client.base == "http://first"  # nothing is left to choose there
