"""Contradictions between statements, named pair by pair.

Found by words alone, for precision before recall: two sentences contradict each other when they are the same but for
(a) one negation, (b) one antonym of the list below in what they say of their subject, or (c) the one number that
follows the verb, in units that can be compared; and two research states do when one run has two statuses. What needs
understanding — paraphrase, pronouns, conditions, hedges ("may", "some", "usually"), relative clauses, approximate
numbers, time ("was … is") — is left alone: no contradiction found is not a proof that there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from lightning_state.actors.category import RESEARCH
from lightning_state.actors.core.verl.clauses import UNITS, Clause, clause, is_number, sentences, value_of
from lightning_state.actors.core.verl.messages import ConsistencyReport, Contradiction, Statement

MOST_REPORTED = 1_000
"""Contradictions named in one report."""

ANTONYMS: tuple[tuple[str, str], ...] = (
    ("open", "closed"),
    ("true", "false"),
    ("enabled", "disabled"),
    ("alive", "dead"),
    ("present", "absent"),
    ("valid", "invalid"),
    ("possible", "impossible"),
    ("safe", "unsafe"),
    ("correct", "incorrect"),
    ("consistent", "inconsistent"),
    ("reliable", "unreliable"),
    ("available", "unavailable"),
    ("known", "unknown"),
    ("synchronous", "asynchronous"),
    ("mutable", "immutable"),
    ("supported", "unsupported"),
    ("required", "optional"),
    ("increase", "decrease"),
    ("empty", "full"),
    ("odd", "even"),
    ("hot", "cold"),
    ("succeeded", "failed"),
)
"""Pairs that exclude each other, as words of a clause (without the -s of verbs)."""

_PAIR_OF = {word: f"<{first}|{second}>" for first, second in ANTONYMS for word in (first, second)}
_COPULAS = frozenset({"is", "was", "equal", "=", "has", "take", "last", "cost", "weigh", "measure", "contain"})


@dataclass(frozen=True)
class _Claim:
    id: str
    clause: Clause


_Key = tuple[str, ...]


def check_consistency(statements: Sequence[Statement], states: Sequence[bytes] = ()) -> ConsistencyReport:
    """The contradictions among statements and research states (their statuses, and their facts as statements).

    Facts are named `researchId/factId`. Cost grows with the text and the number of contradictions, not with the pairs.
    Raises InvalidStateError for a body that is no research state.
    """
    found: list[Contradiction] = []
    claims = [_Claim(s.id, clause(sentence)) for s in statements for sentence in sentences(s.text)]
    statuses: dict[str, str] = {}
    for body in states:
        state = RESEARCH.decode(body)
        status = statuses.setdefault(state.research_id, state.status.value)
        if status != state.status.value:
            reason = f"one run cannot be both {status} and {state.status.value}"
            found.append(Contradiction("status", state.research_id, state.research_id, reason))
        for fact in state.extracted_facts:
            name = f"{state.research_id}/{fact.id}"
            claims.extend(_Claim(name, clause(sentence)) for sentence in sentences(fact.content))
    for contradiction in _contradictions(claims):
        if len(found) >= MOST_REPORTED:
            break
        found.append(contradiction)
    return ConsistencyReport(not found, found)


def contradiction_between(first: Clause, second: Clause) -> str | None:
    """How two clauses contradict each other: negation, antonym or quantity; None when they do not."""
    found = next(_contradictions([_Claim("1", first), _Claim("2", second)]), None)
    return None if found is None else found.kind


def _contradictions(claims: Sequence[_Claim]) -> Iterator[Contradiction]:
    comparable = [claim for claim in claims if claim.clause.is_comparable]
    affirmed = [claim for claim in comparable if not claim.clause.is_negated]
    yield from _negations(comparable)
    yield from _antonyms(affirmed)
    yield from _quantities(affirmed)


def _negations(claims: Sequence[_Claim]) -> Iterator[Contradiction]:
    groups: defaultdict[_Key, tuple[list[_Claim], list[_Claim]]] = defaultdict(lambda: ([], []))
    for claim in claims:
        groups[claim.clause.words][claim.clause.is_negated].append(claim)
    for affirmed, denied in groups.values():
        yield from (_named("negation", a, d, "one denies the other") for a in affirmed for d in denied)


def _antonyms(claims: Sequence[_Claim]) -> Iterator[Contradiction]:
    groups: defaultdict[_Key, list[tuple[str, _Claim]]] = defaultdict(list)
    for claim in claims:
        for key, word in _antonym_keys(claim.clause):
            groups[key].append((word, claim))
    for group in groups.values():
        for (word, a), (other, b) in combinations(group, 2):
            if word != other:
                yield _named("antonym", a, b, f"{word} and {other} exclude each other")


def _quantities(claims: Sequence[_Claim]) -> Iterator[Contradiction]:
    groups: defaultdict[_Key, list[tuple[float, _Claim]]] = defaultdict(list)
    for claim in claims:
        if (quantity := _quantity(claim.clause)) is not None:
            groups[quantity[0]].append((quantity[1], claim))
    for group in groups.values():
        for (value, a), (other, b) in combinations(group, 2):
            if abs(value - other) > 1e-9 * max(abs(value), abs(other)):
                yield _named("quantity", a, b, "two values for one quantity")


def _named(kind: str, first: _Claim, second: _Claim, reason: str) -> Contradiction:
    shown = f"“{first.clause.text[:200]}” / “{second.clause.text[:200]}”: {reason}"
    return Contradiction(kind, first.id, second.id, shown)


def _antonym_keys(found: Clause) -> Iterator[tuple[_Key, str]]:
    """The clause with an antonym left open; only after its verb, where it is said *of* the subject."""
    verb = _verb(found)
    for place, word in enumerate(found.words):
        if word in _PAIR_OF and (place > verb >= 0 or word in {"increase", "decrease"}):
            yield (*found.words[:place], _PAIR_OF[word], *found.words[place + 1 :]), word


def _quantity(found: Clause) -> tuple[_Key, float] | None:
    """The clause with the number after its verb left open, and that number in its base unit."""
    verb = _verb(found)
    place = verb + 1
    if verb < 1 or found.has_bound or place >= len(found.words) or not is_number(found.words[place]):
        return None
    words = found.words
    unit = words[place + 1] if place + 1 < len(words) and words[place + 1] in UNITS else None
    try:
        value, base = value_of(words[place], unit)
    except ValueError:  # 1.2.3 is a version, not a number
        return None
    rest = words[place + 1 + (unit is not None) :]
    return (*words[:verb], words[verb], "<number>", base, *rest), value


def _verb(found: Clause) -> int:
    return next((place for place, word in enumerate(found.words) if word in _COPULAS), -1)
