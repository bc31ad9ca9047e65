"""How well a sentence answers a question: pure functions of terms and weights.

`relevance` is the confidence the workflow gives a fact, so it means one thing everywhere. Let each of the
question's own terms weigh its rarity in the corpus (BM25's idf). A term the sentence itself holds counts in
full; one that only what stands above it holds (the document's name, its module and distribution, the heading)
counts `ABOVE`. The share of the question's weight so covered is the coverage, 0 to 1. Terms that the
question's best documents and sentences brought in (pseudo-relevance feedback) tell in the same way what share
of the topic's vocabulary the sentence speaks, of which `FEW_TERMS` strong ones are as good as all.
Relevance is

    coverage · (1 - TOPIC + TOPIC · vocabulary)

so 1 means: every term of the question, and the topic's vocabulary as well; 0 means no term of the question.
What is ranked is `fit`, where vocabulary also counts without coverage: an answer need not repeat the question
("dies", "failed").
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ABOVE = 0.6
TOPIC = 0.3
FEW_TERMS = 3

FEEDBACK_TERMS = 14
STRONGEST_ADDED = 0.5
"""What the strongest added term weighs, in mean terms of the question."""
_MIN_FEEDBACK_TEXTS = 3  # a term of fewer of the best texts is theirs, not the topic's
_MIN_TERM_LENGTH = 3
_NEAR = 0.75  # share of common terms from which two sentences say the same
_DEPTH_COST = 0.1  # for each level of packages below the second
_BEST_LENGTH = 30  # terms; a longer sentence covers more by chance


@dataclass(frozen=True)
class Topic:
    """A question as weights: its own terms, and those that feedback brought in."""

    own: Mapping[str, float]
    added: Mapping[str, float]

    @property
    def weights(self) -> dict[str, float]:
        """All terms."""
        return {**self.added, **self.own}


def idf(documents: int, frequency: int) -> float:
    """BM25's weight of a term that `frequency` of `documents` hold; > 0."""
    return math.log(1 + (documents - frequency + 0.5) / (frequency + 0.5))


def feedback(
    own: Mapping[str, float],
    ranked: Sequence[Sequence[tuple[float, Sequence[str]]]],
    weight: Mapping[str, float],
) -> dict[str, float]:
    """Terms that set the best texts apart, weighted; at most FEEDBACK_TERMS.

    `ranked`: for the best documents and for the best sentences, the score and terms of each; both have an
    equal say. `weight`: the idf of each term that may be added. Robertson's offer weight in RM3's form: how
    probable the best texts, by their scores, make the term, times how rare it is elsewhere.
    """
    offers: dict[str, float] = {}
    for texts in ranked:
        said = _offers(own, texts, weight)
        top = max(said.values(), default=1.0)
        for term, offer in said.items():
            offers[term] = offers.get(term, 0.0) + offer / top
    best = sorted(offers.items(), key=lambda pair: (-pair[1], pair[0]))[:FEEDBACK_TERMS]
    if not best or not own:
        return {}
    ceiling = STRONGEST_ADDED * sum(own.values()) / len(own)
    return {term: ceiling * offer / best[0][1] for term, offer in best}


def _offers(
    own: Mapping[str, float], texts: Sequence[tuple[float, Sequence[str]]], weight: Mapping[str, float]
) -> dict[str, float]:
    mass: dict[str, float] = {}
    holders: Counter[str] = Counter()
    for score, words in texts:
        counts = Counter(words)
        holders.update(counts.keys())
        for term, count in counts.items():
            mass[term] = mass.get(term, 0.0) + score * math.sqrt(count / len(words))
    needed = min(_MIN_FEEDBACK_TEXTS, len(texts))
    return {
        term: value * weight[term]
        for term, value in mass.items()
        if term in weight and term not in own and holders[term] >= needed and _is_word(term)
    }


def _is_word(term: str) -> bool:
    return len(term) >= _MIN_TERM_LENGTH and not term.isdigit()


def coverage(own: Mapping[str, float], inside: frozenset[str], above: frozenset[str]) -> float:
    """The weighted share, 0 to 1, of the question's terms that a sentence and what stands above it hold."""
    total = sum(own.values())
    held = sum(value * (1.0 if term in inside else ABOVE if term in above else 0.0) for term, value in own.items())
    return held / total if total else 0.0


def vocabulary(added: Mapping[str, float], inside: frozenset[str]) -> float:
    """The share, 0 to 1, of the topic's vocabulary that a sentence speaks."""
    enough = sum(sorted(added.values(), reverse=True)[:FEW_TERMS])
    return min(1.0, sum(value for term, value in added.items() if term in inside) / enough) if enough else 0.0


def fit_and_relevance(topic: Topic, inside: frozenset[str], above: frozenset[str]) -> tuple[float, float]:
    """What ranks a sentence, and what it is worth, both 0 to 1; see the top of this file."""
    covered = coverage(topic.own, inside, above)
    if not topic.added:
        return covered, covered
    spoken = vocabulary(topic.added, inside)
    return (1 - TOPIC) * covered + TOPIC * spoken, covered * (1 - TOPIC + TOPIC * spoken)


def brevity(length: int) -> float:
    """A factor ≤ 1 by which long sentences pay for covering more by chance."""
    return 1.0 if length <= _BEST_LENGTH else math.sqrt(_BEST_LENGTH / length)


def nearness(module: str) -> float:
    """A factor ≤ 1 for how near the top of its package a module is: there is what users meet first."""
    depth = module.count(".")
    return 1 / (1 + _DEPTH_COST * max(0, depth - 1))


def near(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two sentences say the same: most of the shorter one's terms are in the other."""
    smaller = min(len(one), len(other))
    return smaller > 0 and len(one & other) >= _NEAR * max(smaller, 0.6 * max(len(one), len(other)))
