"""The families in the order in which they are tried: the first whose detector knows a payload."""

from talkhead.aliases import hub, infinitetalk, sonic, wan
from talkhead.aliases.family import Family, Payload
from talkhead.request import ACTIONS, LATER_ACTIONS

# Fields that only canonical requests have. A payload with one of them is canonical, mistakes and
# all, and its errors name the nearest field of this version.
OURS = ("portrait", "source", "speakers")


def canonical(payload: Payload) -> bool:
    """Return whether payload says itself that it is of this version."""
    action = payload.get("action")
    named = isinstance(action, str) and action != "portrait"
    return any(key in payload for key in OURS) or (named and action in {*ACTIONS, *LATER_ACTIONS})


FAMILIES: tuple[Family, ...] = (
    sonic.SONIC,
    sonic.SONIC_TTS,
    sonic.SONIC_PORTRAIT,
    wan.WAN_ANIMATE,
    infinitetalk.INFINITETALK_BATCH,
    infinitetalk.COG,
    infinitetalk.INFINITETALK,
    wan.WANVIDEO,
    wan.COMFY,
    hub.HUB,
    wan.LIGHTX2V,
    hub.HUB_ANIMATE,
    infinitetalk.MULTIGPU,
    hub.INFINITETALK_API,
    infinitetalk.FLASHFALCON,
    wan.OMNIAVATAR,
)


def given(payload: Payload) -> Payload:
    """Return payload less the keys that say nothing: null and blank are keys left out."""
    return {name: value for name, value in payload.items() if value is not None and value != ""}


def recognise(payload: Payload) -> Family | None:
    """Return the first family that knows payload, then by its traits; None: it is canonical."""
    payload = given(payload)
    if canonical(payload):
        return None
    known = (family for family in FAMILIES if family.detect(payload))
    hinted = (family for family in FAMILIES if payload.keys() & family.traits)
    return next(known, None) or next(hinted, None)
