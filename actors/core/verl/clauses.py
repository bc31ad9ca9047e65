"""Sentences as comparable clauses: what consistency, facts and reasoning look at. English, by words alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[A-Z0-9])|\n+")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+(?:'[a-z]+)?|%|=", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")

_CONTRACTIONS = {"can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not"}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FILLERS = _set("a an the also very really actually indeed currently therefore thus hence so then")
_NEGATIONS = _set("not never")
_AUXILIARIES = _set("do does did")
_SAME_WORD = {"are": "is", "were": "was", "have": "has"}

# Clauses with one of these are not compared: their parts, or how much they claim, would have to be understood.
_HEDGES = _set(
    "if when whenever unless until while whether because although though but which who whose that where "
    "some many most few several any often sometimes usually rarely may might could should would probably possibly "
    "always necessarily only just both either neither nor no none without except "
    "it this these those they he she we i you there"
)
_BOUNDS = _set("about around approximately roughly least most up over under above below between more less than")
_STOP = _set("a an the of to in on at by for with from and or as is are was were be been has have had its it this that")

UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), ("s", 0.001)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("s", 1.0)),
    **dict.fromkeys(("min", "minute", "minutes"), ("s", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("s", 3600.0)),
    **dict.fromkeys(("day", "days"), ("s", 86400.0)),
    **dict.fromkeys(("kb", "kilobyte", "kilobytes"), ("byte", 1e3)),
    **dict.fromkeys(("mb", "megabyte", "megabytes"), ("byte", 1e6)),
    **dict.fromkeys(("gb", "gigabyte", "gigabytes"), ("byte", 1e9)),
    **dict.fromkeys(("byte", "bytes"), ("byte", 1.0)),
    **dict.fromkeys(("mm", "millimetre", "millimetres"), ("m", 0.001)),
    **dict.fromkeys(("cm", "centimetre", "centimetres"), ("m", 0.01)),
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), ("m", 1.0)),
    **dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), ("m", 1000.0)),
    **dict.fromkeys(("%", "percent"), ("%", 1.0)),
}
"""Unit → (unit of its kind, factor)."""


@dataclass(frozen=True)
class Clause:
    """One sentence, reduced to what can be compared."""

    text: str
    words: tuple[str, ...]
    """Lower-case words in order, without articles, fillers, auxiliaries and negations; verbs without their -s."""
    is_negated: bool
    is_comparable: bool
    """False for questions, conditions, hedges and pronouns: what they claim depends on more than their words."""
    has_bound: bool
    """It says "at least", "about" and the like: numbers in it are not the one value of a quantity."""


def sentences(text: str) -> list[str]:
    """The sentences of a text; a line break ends one too."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def words_of(text: str) -> list[str]:
    """Lower-case words, numbers without thousands separators, contractions of "not" opened."""
    found: list[str] = []
    for word in _WORD.findall(text.replace("’", "'").lower()):
        if _NUMBER.fullmatch(word):
            found.append(word.replace(",", "") if _THOUSANDS.fullmatch(word) else word)
        elif word in _CONTRACTIONS:
            found.extend(_CONTRACTIONS[word].split())
        elif word.endswith("n't"):
            found.extend((word[:-3], "not"))
        else:
            found.append(word.removesuffix("'s").replace("'", ""))
    return found


def stem(word: str) -> str:
    """A word without the -s that number and person put on it."""
    word = _SAME_WORD.get(word, word)
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004  # shorter words keep it
        return word[:-1]
    return word


def clause(sentence: str) -> Clause:
    """What one sentence claims, as far as its words tell."""
    words = words_of(sentence)
    negations = sum(word in _NEGATIONS for word in words)
    kept = tuple(stem(w) for w in words if w not in _FILLERS | _NEGATIONS | _AUXILIARIES)
    return Clause(
        text=sentence,
        words=kept,
        is_negated=negations % 2 == 1,
        is_comparable=len(kept) > 1
        and negations < 2  # noqa: PLR2004  # two negations may belong to two parts of the sentence
        and not sentence.rstrip().endswith("?")
        and _HEDGES.isdisjoint(words)
        and ";" not in sentence,
        has_bound=not _BOUNDS.isdisjoint(words),
    )


def content_words(text: str) -> frozenset[str]:
    """The words and numbers that carry what a text says."""
    return frozenset(stem(word) for word in words_of(text) if word not in _STOP and word not in _NEGATIONS)


def is_number(word: str) -> bool:
    """Whether a word of a clause is a number."""
    return word[0].isdigit()


def value_of(number: str, unit: str | None) -> tuple[float, str]:
    """A number in the base unit of its kind, and that unit; an unknown word after it is no unit."""
    base, factor = UNITS.get(unit or "", ("", 1.0))
    return float(number.replace(",", ".")) * factor, base
