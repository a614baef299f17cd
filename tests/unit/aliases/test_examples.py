"""Every example is read as the family it is named after, and is a request of this version."""

import json
from pathlib import Path

import pytest

from talkhead.aliases import read
from talkhead.aliases.families import FAMILIES
from talkhead.errors import Code, TalkheadError
from talkhead.request import Animate, Batch, Portrait, Request, Speak, Talk
from talkhead.validation import parse

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(EXAMPLES.glob("*.json"))
CANONICAL = ("canonical_talk", "canonical_speak", "canonical_batch")
OTHER = {**dict.fromkeys(CANONICAL, "talkhead"), "workflow": "comfy"}
MAPPED = dict.fromkeys(("infinitetalk", "omniavatar", "sonic"), "draft") | {"f5": "espeak"}
REFUSED = ("workflow",)
SHORT = ("canonical_talk", "comfy", "hub", "infinitetalk", "lightx2v", "wanvideo")
SHORT += ("canonical_batch", "infinitetalk-batch")


def test_there_is_one_of_every_family() -> None:
    names = {family.name for family in FAMILIES}
    assert {file.stem for file in FILES} == names | OTHER.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_example(file: Path) -> None:
    reading = read(json.loads(file.read_text())["input"], MAPPED)
    assert reading.family == OTHER.get(file.stem, file.stem)
    if file.stem in REFUSED:
        with pytest.raises(TalkheadError) as caught:
            parse(reading.payload)
        assert caught.value.code == Code.UNSUPPORTED
        return
    request = parse(reading.payload)
    for each in request.items if isinstance(request, Batch) else (request,):
        is_as_in_the_page(each, file.stem)


def is_as_in_the_page(request: Request, stem: str) -> None:
    if isinstance(request, Talk):
        assert request.engine == "draft"
        assert not request.options
        assert {request.face_source[1], request.speakers[0].audio} == {
            "library:astronaut.png",
            "library:librivox.flac",
        }
        assert (request.max_frames == 25) == (stem in SHORT)
    elif isinstance(request, Speak):
        assert (request.voice, request.sample) == ("espeak", None)
    else:
        assert isinstance(request, Animate | Portrait)


def test_the_readme_names_every_example() -> None:
    page = (EXAMPLES / "README.md").read_text()
    for file in FILES:
        assert f"`{file.name}`" in page
