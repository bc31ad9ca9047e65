"""The checker of transactions agrees with trying every order, on histories small enough for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from random import Random

import pytest

from lightning_state.actors.testing.checkers.transactions import check_transactions
from lightning_state.actors.testing.history import NEVER, Outcome
from lightning_state.actors.testing.transaction_history import Append, ListRead, Transaction

SEEDS = 1_500


def explained(history: Sequence[Transaction]) -> bool:
    """Whether some order of the committed transactions, with or without those in doubt, explains every read."""
    known = [each for each in history if each.outcome is Outcome.OK]
    doubt = [each for each in history if each.outcome is Outcome.UNKNOWN]
    return any(
        _agrees_with_time(order) and _runs(order)
        for size in range(len(doubt) + 1)
        for happened in combinations(doubt, size)
        for order in permutations([*known, *happened])
    )


def _agrees_with_time(order: Sequence[Transaction]) -> bool:
    return not any(later.returned < earlier.invoked for earlier, later in combinations(order, 2))


def _runs(order: Sequence[Transaction]) -> bool:
    lists: dict[str, tuple[str, ...]] = {}
    for transaction in order:
        for operation in transaction.operations:
            if isinstance(operation, Append):
                lists[operation.key] = (*lists.get(operation.key, ()), operation.element)
            elif lists.get(operation.key, ()) != operation.elements:
                return False
    return True


def guessed(random: Random) -> list[Transaction]:
    """Up to four transactions on two keys whose reads are guessed, and a last one that reads both keys."""
    elements: dict[str, list[str]] = {"x": [], "y": []}
    shapes = [
        [(random.random() < 0.5, random.choice("xy")) for _ in range(random.randint(1, 3))]
        for _ in range(random.randint(2, 4))
    ]
    drafts: list[list[tuple[str, str]]] = []
    for number, shape in enumerate(shapes):
        draft: list[tuple[str, str]] = []
        for step, (appends, key) in enumerate(shape):
            draft.append((key, f"{number}{step}" if appends else ""))
            if appends:
                elements[key].append(f"{number}{step}")
        drafts.append(draft)
    for each in elements.values():
        random.shuffle(each)
    history = [_told(random, number, draft, elements) for number, draft in enumerate(drafts)]
    seen = {key: tuple(each[: len(each) - (random.random() < 0.2)]) for key, each in elements.items()}
    reads = tuple(ListRead(key=key, elements=each) for key, each in seen.items())
    return [
        *history,
        Transaction(id="end", client="c", invoked=100, returned=101, outcome=Outcome.OK, operations=reads),
    ]


def _told(random: Random, number: int, draft: list[tuple[str, str]], lists: dict[str, list[str]]) -> Transaction:
    outcome = random.choices([Outcome.OK, Outcome.UNKNOWN, Outcome.REFUSED], [8, 2, 1])[0]
    invoked = random.randint(0, 6)
    own: dict[str, tuple[str, ...]] = {}
    cut = {key: random.randint(0, len(elements)) for key, elements in lists.items()}
    operations: list[Append | ListRead] = []
    for key, element in draft:
        if element:
            own[key] = (*own.get(key, ()), element)
            operations.append(Append(key=key, element=element))
        else:
            others = tuple(each for each in lists[key][: cut[key]] if not each.startswith(str(number)))
            operations.append(ListRead(key=key, elements=others + own.get(key, ())))
    return Transaction(
        id=f"t{number}",
        client="c",
        invoked=invoked,
        returned=invoked + random.randint(1, 6) if outcome is Outcome.OK else NEVER,
        outcome=outcome,
        operations=tuple(operations),
    )


def histories(part: int) -> Iterator[tuple[list[Transaction], bool]]:
    for seed in range(part * SEEDS, (part + 1) * SEEDS):
        history = guessed(Random(seed))
        yield history, explained(history)


@pytest.mark.parametrize("part", range(2))
def test_what_some_order_explains_passes_and_nothing_else(part: int) -> None:
    verdicts = [0, 0]
    for history, legal in histories(part):
        verdicts[legal] += 1
        assert (check_transactions(history) == []) == legal, history
    assert min(verdicts) > SEEDS / 20, "one of the two answers hardly occurred"
