"""One good and one failed payload of every family, compared exactly with what is stored.

`REWRITE_GOLDENS=1 pytest tests/unit/aliases/test_goldens.py` stores what comes out now; read the
difference before you keep it.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from talkhead.aliases import answer, failure, glance, read
from talkhead.aliases.families import FAMILIES
from talkhead.errors import Code, TalkheadError
from talkhead.request import LATER_ACTIONS
from talkhead.result import Result
from talkhead.validation import parse

GOLDENS = Path(__file__).parents[2] / "goldens" / "aliases"
NAMES = [family.name for family in FAMILIES]


def outcome(given: dict[str, Any]) -> dict[str, Any]:
    """Return what a golden holds beside its inputs: payload, result and the bad payload."""
    reading = read(given["payload"], {})
    with pytest.raises(TalkheadError) as caught:
        read(given["bad"], {})
    error = caught.value.to_dict()
    result = Result.model_validate(given["result"]) if given["result"] else None
    return {
        "canonical": reading.payload,
        "notices": [notice.model_dump(exclude_none=True) for notice in reading.notices],
        "answer": answer(reading, result) if result else None,
        "error": {key: error[key] for key in ("code", "message", "hint", "fields")},
        "failed": failure(glance(given["bad"]), error),
    }


def test_every_family_has_its_golden() -> None:
    assert sorted(path.stem for path in GOLDENS.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    path = GOLDENS / f"{name}.json"
    golden = json.loads(path.read_text())
    given = {key: golden[key] for key in ("payload", "result", "bad")}
    found = json.loads(json.dumps(outcome(given)))  # as it is on the wire: lists, not tuples
    if os.environ.get("REWRITE_GOLDENS"):
        path.write_text(json.dumps(given | found, indent=1) + "\n")
    assert found == {key: golden.get(key) for key in found}


@pytest.mark.parametrize("name", NAMES)
def test_the_canonical_form_is_a_request(name: str) -> None:
    golden = json.loads((GOLDENS / f"{name}.json").read_text())
    assert read(golden["payload"], {}).family == glance(golden["bad"]).family == name
    canonical = golden["canonical"]
    if canonical["action"] in LATER_ACTIONS:
        with pytest.raises(TalkheadError) as caught:
            parse(canonical)
        assert caught.value.code == Code.UNSUPPORTED
    else:
        assert parse(canonical).action == canonical["action"]
    assert golden["error"]["code"] == Code.INPUT
