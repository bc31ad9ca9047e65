"""Words as the index compares them: lower case, unaccented, stemmed, no stop words, names also in parts."""

import re
from functools import cache

import tantivy

ANALYZER_NAME = "terms"
"""The analyser's name in the index; it is registered again each time the index is opened."""

_CAMEL = re.compile(r"\b(?=\w*[a-z])(?=\w*[A-Z])\w*[a-z0-9][A-Z]\w*\b|\b[A-Z]{2,}[a-z]\w+\b")
_ADDRESS = re.compile(r"\b\w+://\S+|\bwww\.\S+")  # its words (https, org, html) say nothing of the matter
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_QUESTION_WORDS = """
how what which who whom whose when where why does do did done doing can could should would will
shall may might must have has had having i me my we our you your he she its them explain describe
tell show give about between from into than then there here some any all also only very just so such
use used using uses usage work works whether if when while before after even still yet been both
each every other same such default none true false value happen happens way ways get please is are
was were be been being via per e.g i.e etc
"""


@cache
def analyzer() -> tantivy.TextAnalyzer:
    """The one analyser of documents and queries."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(60))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stopword("english"))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


@cache
def _question_terms() -> frozenset[str]:
    return frozenset(analyzer().analyze(_QUESTION_WORDS))


def indexed(text: str) -> str:
    """The text without addresses, and the words in its CamelCase names (snake_case splits by itself)."""
    text = _ADDRESS.sub(" ", text)
    names = _CAMEL.findall(text)
    return f"{text} {' '.join(part for name in names for part in _PART.findall(name))}" if names else text


def terms(text: str) -> list[str]:
    """The terms of a text in order, repeats included."""
    return analyzer().analyze(indexed(text))


def is_question_term(term: str) -> bool:
    """Whether any question or answer could hold this term, so that it says nothing of the matter."""
    return term in _question_terms()


def query_terms(query: str) -> list[str]:
    """The distinct terms of a question that carry its matter, in order; question words are left out."""
    found = dict.fromkeys(terms(query))
    matter = [term for term in found if not is_question_term(term)]
    return matter or list(found)
