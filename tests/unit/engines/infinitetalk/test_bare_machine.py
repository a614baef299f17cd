"""The maths loads where there is little more than torch: on a rented GPU machine."""

import subprocess
import sys

MODULES = (
    "talkhead.models.schedule",
    "talkhead.models.guidance",
    "talkhead.models.stepcache",
    "talkhead.models.color",
    "talkhead.engines.infinitetalk.audio",
    "talkhead.engines.infinitetalk.conditioning",
    "talkhead.engines.infinitetalk.upstream",
)
MISSING = ("av", "cv2", "diffusers", "httpx", "PIL", "pocketsphinx", "pydantic", "pyloudnorm")


def test_modules_load_without_media_or_diffusers() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({MISSING}))"
    script = f"{blocked}; import {', '.join(MODULES)}"
    subprocess.run([sys.executable, "-c", script], check=True)
