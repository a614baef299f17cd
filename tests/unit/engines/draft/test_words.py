import pytest

from talkhead.engines.draft.visemes import TARGETS
from talkhead.engines.draft.words import SPELLINGS, latin_share, pronounce, spoken_words

KNOWN = {"dash": "D AE SH", "wood": "W UH D", "bus": "B AH S", "cat": "K AE T", "dog": "D AO G"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("“Well-known” café, [laughs] don’t!", "well known cafe don't"),
        ("'Tis the dogs' day", "tis the dogs day"),
        ("In 1984, on May 21st", "in nineteen eighty four on may twenty first"),
        ("1905 and 1900, 2026", "nineteen oh five and nineteen hundred two thousand twenty six"),
        ("$5,000 & 3.14%", "five thousand dollars and three point one four percent"),
        ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("007 or 0", "zero zero seven or zero"),
        ("the 3rd, 12th and 100th", "the third twelfth and one hundredth"),
        ("2" * 13, " ".join(["two"] * 13)),
        ("Привет 你好", ""),
        ("", ""),
    ],
)
def test_text_becomes_the_words_that_are_said(text: str, words: str) -> None:
    assert " ".join(spoken_words(text)) == words


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("dashwood", "D AE SH W UH D"),
        ("bus's", "B AH S IH Z"),
        ("cat's", "K AE T S"),
        ("dog's", "D AO G Z"),
        ("bbc", "B IY B IY S IY"),
        ("x", "EH K S"),
        ("biked", "B IH K T"),
        ("zorgle", "Z AO R G AH L"),
        ("phishing", "F IH SH IH NG"),
        ("tube", "T UW B"),
        ("mission", "M IH SH AH N"),
        ("knight", "N AY T"),
    ],
)
def test_unknown_words_are_sounded_out(word: str, phones: str) -> None:
    assert pronounce(word, KNOWN.get) == phones


@pytest.mark.parametrize("word", ["e", "''", "aeiou", "xqzjk", "schwartz", "ooooo", "rhythm", "'e"])
def test_every_word_gets_phones_that_exist(word: str) -> None:
    phones = pronounce(word, lambda _: None).split()
    assert phones
    assert set(phones) <= set(TARGETS)


def test_the_rules_use_phones_that_exist() -> None:
    assert {name for names in SPELLINGS.values() for name in names.split()} <= set(TARGETS)


def test_scripts_are_told_apart() -> None:
    assert latin_share("Bonjour, ça va? 42") == 1
    assert latin_share("Привет") == 0
    assert latin_share("ab вг") == 0.5
    assert latin_share("42") == 0
