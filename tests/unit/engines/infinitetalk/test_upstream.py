from dataclasses import astuple

from talkhead.engines.infinitetalk.upstream import OFFICIAL, Upstream


def test_every_switch_is_off_in_the_product_and_on_in_the_official_way() -> None:
    assert not any(astuple(Upstream()))
    assert all(astuple(OFFICIAL))
