"""A transcript to words as they are said, and English spelling to phones where no dictionary helps.

The rules for unknown words are coarse: a mouth shape forgives what an ear would not.
"""

import re
import unicodedata
from collections.abc import Callable

# fmt: off
UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
# fmt: on
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
LARGEST = 10**12
ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
SYMBOLS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees"}
CURRENCIES = {"$": "dollars", "£": "pounds", "€": "euros"}

# The longest match wins; $ is the word's end, ^ its start, a lower-case letter is itself.
# fmt: off
SPELLINGS = {
    "^kn": "N", "^gn": "N", "^wr": "R", "^ps": "S", "^x": "Z", "^wh": "W", "^y": "Y", "^sch": "SH",
    "tion": "SH AH N", "sion": "ZH AH N", "ssion": "SH AH N", "cian": "SH AH N", "cious": "SH AH S",
    "tious": "SH AH S", "ture": "CH ER", "sure": "ZH ER", "ous$": "AH S", "tial": "SH AH L",
    "cial": "SH AH L", "le$": "AH L", "les$": "AH L Z", "ing$": "IH NG", "age$": "IH JH",
    "ed$": "D", "ted$": "T IH D", "ded$": "D IH D", "ped$": "P T", "ked$": "K T", "sed$": "Z D",
    "ched$": "CH T", "shed$": "SH T", "es$": "Z", "ses$": "S IH Z", "ches$": "CH IH Z",
    "shes$": "SH IH Z", "xes$": "K S IH Z", "'s$": "Z", "ey$": "IY", "ie$": "IY", "ies$": "IY Z",
    "igh": "AY", "ough": "AO", "augh": "AO", "eigh": "EY", "tch": "CH", "dge": "JH", "sch": "SH",
    "chr": "K R", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "gh": "G", "wh": "W", "ck": "K",
    "ng": "NG", "nk": "NG K", "qu": "K W", "ss": "S", "sc": "S K", "sce": "S EH", "sci": "S AY",
    "cc": "K", "ce": "S EH", "ci": "S IH", "cy": "S IY", "ce$": "S", "ge$": "JH", "ge": "JH EH",
    "gi": "JH IH", "mb$": "M", "ee": "IY", "ea": "IY", "ai": "EY", "ay": "EY", "oa": "OW",
    "oe$": "OW", "oo": "UW", "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY", "au": "AO",
    "aw": "AO", "ew": "UW", "eu": "UW", "ue$": "UW", "ui": "UW", "ei": "EY", "ia": "IY AH",
    "io": "IY OW", "ar": "AA R", "er": "ER", "ir": "ER", "or": "AO R", "ur": "ER", "ear": "IH R",
    "eer": "IH R", "air": "EH R", "are$": "EH R", "ore$": "AO R", "our": "AO R", "ire$": "AY ER",
    "all": "AO L", "alk": "AO K", "a$": "AH", "e$": "", "i$": "IY", "o$": "OW", "u$": "UW",
    "y$": "IY", "^a$": "AH",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH",
    "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R",
    "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z", "'": "",
}
LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY",
    "h": "EY CH", "i": "AY", "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N",
    "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW",
    "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}
# fmt: on
LONG_VOWELS = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW", "y": "AY"}
LONGEST_SPELLING = max(len(spelling) for spelling in SPELLINGS)

Lookup = Callable[[str], str | None]


def spoken_words(text: str) -> list[str]:
    """Return the text's words in lower case, numbers and signs spelled out, accents removed.

    What stands in square brackets is a stage direction and is left out.
    """
    text = re.sub(r"\[[^\]]*\]", " ", text).replace("’", "'").replace("‘", "'")
    text = re.sub(r"([$£€])\s?(\d[\d,.]*\d|\d)", lambda m: f"{m[2]} {CURRENCIES[m[1]]}", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = re.sub(r"\d+(?:\.\d+)?(?:st|nd|rd|th)?", lambda m: f" {_number(m[0])} ", text)
    text = "".join(f" {SYMBOLS[sign]} " if sign in SYMBOLS else sign for sign in text)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = (word.strip("'") for word in re.findall(r"[a-z']+", plain.lower()))
    return [word for word in words if word]


def latin_share(text: str) -> float:
    """Return which share of the text's letters are of the Latin script, 0 to 1."""
    letters = [character for character in text if character.isalpha()]
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters)
    return latin / len(letters) if letters else 0.0


def pronounce(word: str, lookup: Lookup) -> str:
    """Return phones for a word that the dictionary lacks, from its parts or its letters."""
    stem, apostrophe, ending = word.partition("'")
    known = lookup(stem) if apostrophe else None
    if known and ending in ("s", ""):
        return f"{known} {_plural(known)}"
    if not re.search(r"[aeiouy]", word) or len(word) == 1:
        return " ".join(LETTERS[letter] for letter in word if letter in LETTERS) or "AH"
    for cut in range(len(word) - 3, 2, -1):  # two known words in one, the first as long as can be
        head, tail = lookup(word[:cut]), lookup(word[cut:])
        if head and tail:
            return f"{head} {tail}"
    return _sound_out(word)


def _sound_out(word: str) -> str:
    single = re.sub(r"([b-df-hj-np-rtv-z])\1", r"\1", word)
    marked = f"^{single}$"
    phones: list[str] = []
    at = 1
    while at < len(marked) - 1:
        magic = re.match(r"([aeiouy])([b-df-hj-np-tvz])e(s?)\$", marked[at:])
        if magic:  # a silent e makes the vowel before it long
            phones += [LONG_VOWELS[magic[1]], SPELLINGS[magic[2]]]
            phones += ["Z"] if magic[3] else []
            break
        at, sound = _longest(marked, at)
        phones.append(sound)
    return " ".join(" ".join(phones).split()) or "AH"


def _longest(marked: str, at: int) -> tuple[int, str]:
    """Return where the longest known spelling at a position ends, and its phones."""
    for length in range(LONGEST_SPELLING, 0, -1):
        piece = marked[at : at + length]
        if at == 1 and f"^{piece}" in SPELLINGS:
            return at + len(piece), SPELLINGS[f"^{piece}"]
        if piece in SPELLINGS:
            return at + len(piece.rstrip("$")), SPELLINGS[piece]
    return at + 1, ""


def _plural(phones: str) -> str:
    last = phones.rsplit(maxsplit=1)[-1]
    if last in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return "IH Z"
    return "S" if last in {"P", "T", "K", "F", "TH"} else "Z"


def _number(digits: str) -> str:
    """Return digits in words: cardinals, ordinals, decimals, and years from 1100 to 1999."""
    figure = digits.rstrip("stndrh")
    whole, _, decimals = figure.partition(".")
    if (len(whole) > 1 and whole.startswith("0")) or int(whole) >= LARGEST:
        return " ".join(UNITS[int(digit)] for digit in whole + decimals)
    if decimals:
        return f"{_cardinal(int(whole))} point {' '.join(UNITS[int(d)] for d in decimals)}"
    if figure != digits:
        return _ordinal(_cardinal(int(whole)))
    if len(whole) == 4 and 1100 <= int(whole) <= 1999:
        low = int(whole[2:])
        rest = f"{'oh ' if low < 10 else ''}{_cardinal(low)}" if low else "hundred"
        return f"{_cardinal(int(whole[:2]))} {rest}"
    return _cardinal(int(whole))


def _cardinal(number: int) -> str:
    for scale, name in SCALES:
        if number >= scale:
            rest = f" {_cardinal(number % scale)}" if number % scale else ""
            return f"{_cardinal(number // scale)} {name}{rest}"
    if number < 20:
        return UNITS[number]
    unit = f" {UNITS[number % 10]}" if number % 10 else ""
    return TENS[number // 10 - 2] + unit


def _ordinal(cardinal: str) -> str:
    head, _, last = cardinal.rpartition(" ")
    ordinal = f"{last[:-1]}ieth" if last.endswith("y") else ORDINALS.get(last, f"{last}th")
    return f"{head} {ordinal}".strip()
