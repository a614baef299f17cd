"""espeak-ng's phoneme mnemonics to ARPABET, by what the mouth looks like."""

from functools import cache

PLOSIVES = frozenset({"P", "B", "T", "D", "K", "G", "CH", "JH"})
STRESS = "',%="

# The longest prefix decides; what follows it (length, tone, palatal or dental marks) is not seen.
# Several names share the phone's time evenly; none prolongs the phone before.
# fmt: off
ANYWHERE = {
    # vowels
    "a": "AA", "A": "AA", "a#": "AH", "V": "AH", "@": "AH", "0": "AA", "&": "AE", "E": "EH",
    "e": "EH", "e:": "EY", "I": "IH", "i": "IY", "i.": "IH", "i[": "IH", "O": "AO", "o": "OW",
    "o-": "AH", "U": "UH", "u": "UW", "u-": "UH", "y": "UW", "Y": "UH", "W": "AO", "3": "ER",
    "W~": "AH", "@-": "AH", "@r": "ER", "1": "IH", "E2": "EH", "M\\": "IH",
    # diphthongs
    "aI": "AY", "ai": "AY", "AI": "AY", "aU": "AW", "au": "AW", "Au": "AW", "VU": "AW",
    "&U": "AW", "eI": "EY", "ei": "EY", "EI": "EY", "oU": "OW", "ou": "OW", "@U": "OW",
    "OI": "OY", "oi": "OY", "OY": "OY", "Wy": "AH UW", "eU": "EH UW", "eu": "EH UW",
    "iU": "IY UW", "ui": "UW IY", "e@": "EH AH", "i@": "IY AH", "U@": "UH AH", "u@": "UH AH",
    "A@": "AA", "O@": "AO", "o@": "AO", "aI3": "AY ER", "aI@": "AY AH", "aU@": "AW AH",
    "i@3": "IY ER", "iE": "IY EH", "ie": "IY EH", "uo": "UH AO", "ua": "W AA", "ia": "Y AA",
    "ja": "Y AA", "ju": "Y UW", "jo": "Y OW", "je": "Y EH", "y@": "UW AH", "yE": "UW EH",
    "yY": "UW UH", "@L": "AH L",
    # lips
    "p": "P", "b": "B", "m": "M", "f": "F", "v": "V", "F": "F", "p\\": "F", "P": "F", "B": "V",
    "v#": "V", "pF": "P F", "w": "W", "kp": "P", "gb": "B", "mb": "M B", "mp": "M P",
    # tongue tip and teeth
    "t": "T", "d": "D", "n": "N", "l": "L", "s": "S", "z": "Z", "T": "TH", "D": "DH", "ts": "S",
    "dz": "Z", "r": "D", "R": "D", "*": "D", "L": "L", "K": "L", "nd": "N D", "nt": "N T",
    # behind the teeth
    "S": "SH", "Z": "ZH", "tS": "CH", "dZ": "JH", "s.": "SH", "s;": "SH", "s\\": "SH", "sx": "SH",
    "z.": "ZH", "z;": "ZH", "z\\": "ZH", "ts.": "CH", "ts;": "CH", "dz.": "JH", "dz;": "JH",
    "t_s": "S", "t_s\\": "CH", "d_z": "Z", "d_z\\": "JH",
    # tongue back and throat
    "j": "Y", ";": "Y", "C": "Y", "J^": "Y", "l^": "L", "n^": "N", "J": "G", "c": "K", "k": "K",
    "g": "G", "q": "K", "Q": "G", "G": "G", "N": "NG", "x": "HH", "X": "HH", "h": "HH", "H": "HH",
    "?": "SIL", "_": "SIL",
    # marks
    ":": "", "(": "",  # a length by itself; a language tag such as (en)
}
OWN = {
    "en": {"r": "R", "R": "R"},
    "de": {"3": "AH", "r": "G", "R": "G"},
    "fr": {"r": "G", "R": "G"},
    "da": {"r": "G", "R": "G"},
    "cmn": {"z.": "R", "r": "R"},
    "ko": {"u-": "IH"},
}
# fmt: on
LONGEST = max(len(key) for key in ANYWHERE)


@cache
def arpabet(mnemonic: str, language: str) -> tuple[str, ...]:
    """Return the ARPABET names of a mnemonic, none for a mark that makes no sound of its own.

    `language` is the first part of a tag, such as en or cmn. An unknown mnemonic is a neutral AH.
    """
    bare = mnemonic.lstrip(STRESS)
    if bare[:1] == "?" and len(bare) > 1:  # the Danish stød goes with the vowel that it marks
        bare = bare[1:]
    if not bare:
        return ()
    table = {**ANYWHERE, **OWN.get(language, {})}
    for length in range(LONGEST, 0, -1):
        if (names := table.get(bare[:length])) is not None:
            return tuple(names.split())
    return ("AH",)
