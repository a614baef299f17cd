"""docs/older_payloads.md is what the tables say."""

from pathlib import Path

from talkhead.aliases import document
from talkhead.aliases.families import FAMILIES

PAGE = (Path(__file__).parents[3] / "docs" / "older_payloads.md").read_text()


def test_the_page_is_made_from_the_tables() -> None:
    assert document.page() == PAGE, "python -m talkhead.aliases.document > docs/older_payloads.md"


def test_the_page_names_every_key_and_default() -> None:
    for family in FAMILIES:
        section = PAGE.partition(f"\n## {family.name}\n")[2].partition("\n## ")[0]
        for name in (*family.keys, *family.defaults):
            assert f"`{name}`" in section, (family.name, name)


def test_every_engine_option_has_its_meaning() -> None:
    known = {name for names in document.OPTIONS.values() for name in names}
    assert document.option_names() <= known
