"""Places for files that are too large to travel in a request: the action `uploads`."""

import secrets

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.request import Uploads
from talkhead.result import Place, Result
from talkhead.runtime import Runtime
from talkhead.stores import Receives
from talkhead.stores.keys import safe_part

FOLDER = "uploads"  # below the operator's prefix
EXPIRES_S = 3600  # for the transfer to begin


def places(request: Uploads, runtime: Runtime) -> Result:
    """Answer `uploads`: for each file a place in the operator's store, and its reference.

    Each has a key of its own that nobody can guess, so that no file replaces another. Raises
    E_UNSUPPORTED where the store cannot receive files, or where requests may not read them.
    """
    store, settings = runtime.source(), runtime.settings
    if not isinstance(store, Receives):
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"action 'uploads': the {settings.store.kind} store of this installation takes no "
            "files from outside",
            "give https links, or have the operator set TALKHEAD_STORE__KIND to s3 or supabase",
            fields=["action"],
        )
    front = "/".join(part for part in (settings.store.prefix.strip("/"), FOLDER) if part) + "/"
    if not front.startswith(settings.readable):
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"action 'uploads': requests may not read {front} here",
            f"the operator can add {front} to TALKHEAD_READABLE",
            fields=["action"],
        )
    fetch = settings.fetch
    most = round(1e6 * max(fetch.image_mb, fetch.audio_mb, fetch.video_mb))
    for index, file in enumerate(request.files):
        if file.bytes > most:
            raise TalkheadError(
                Code.INPUT,
                f"files.{index}.bytes: {file.bytes / 1e6:.0f} MB, over {most / 1e6:.0f} MB",
                "send a smaller file",
                fields=[f"files.{index}.bytes"],
            )
    made = []
    for file in request.files:
        key = f"{front}{secrets.token_hex(16)}/{safe_part(file.name)}"
        slot = store.slot(key, file.bytes, EXPIRES_S)
        made.append(
            Place(
                name=file.name,
                reference=f"store:{key}",
                url=slot.url,
                headers=dict(slot.headers),
                expires_at=slot.expires_at.isoformat(),
            )
        )
    return Result(action="uploads", version=__version__, uploads=tuple(made))
