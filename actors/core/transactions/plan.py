"""What a client wants of a transaction, sorted by the shards it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lightning_state.actors.core.checks import check_expected
from lightning_state.actors.core.messages import ANY, Condition, Share, Write
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.service_map import CategoryInfo, ServiceMap
from lightning_state.actors.core.slots import category_of_slot, index_of_slot
from lightning_state.actors.errors import InvalidStateError, UnknownCategoryError


class Compare(msgspec.Struct, frozen=True):
    """A condition on the version of a key, 0 without a state: `how` is "==", "!=", "<" or ">"."""

    category: str
    key: str
    how: str
    version: int


class Change(msgspec.Struct, frozen=True):
    """A change of a key. `expected` is the version it must have; what `body` holds is as in Write."""

    category: str
    key: str
    op: Op
    body: bytes = b""
    expected: int = ANY


@dataclass(slots=True)
class Plan:
    """A transaction, ready to be sent."""

    is_guarded: bool
    shares: list[Share] = field(default_factory=list[Share])
    order: tuple[list[Change], list[Change]] = field(default_factory=lambda: ([], []))
    """The writes, and those of the other branch, as the versions of Decided count them."""
    first: tuple[CategoryInfo, int] | None = None

    @property
    def decided_in(self) -> tuple[CategoryInfo, int]:
        """The slot of the first written key, with its category. Raises InvalidStateError when nothing is written."""
        if self.first is None:
            raise InvalidStateError("a transaction writes something, in one of its branches at least")
        return self.first


def plan_of(
    current: ServiceMap, reads: Sequence[Compare], writes: Sequence[Change], otherwise: Sequence[Change] | None = None
) -> Plan:
    """The transaction that makes these writes if nothing that was read has changed.

    With `otherwise` it is a guarded one: `reads` choose, by all being true, between the two lists of writes. Raises
    UnknownCategoryError, or InvalidStateError for an expected version no key can have.
    """
    plan = Plan(is_guarded=otherwise is not None)
    branches: list[Sequence[Compare | Change]] = [reads, writes, otherwise or ()]
    placed: list[tuple[int, int, str, int, int, Compare | Change]] = []
    for branch, several in enumerate(branches):
        for each in several:
            info = current.categories.get(each.category)
            if info is None:
                raise UnknownCategoryError(
                    f"category {each.category!r} is not registered at service {current.service!r}"
                )
            slot, shard = current.locate(info, each.key)
            placed.append((shard, info.id, each.key, branch, slot, each))
    shares: dict[int, Share] = {}
    for shard, _, key, branch, slot, each in sorted(placed, key=lambda place: place[:4]):
        share = shares.setdefault(shard, Share([], [], [], []))
        if isinstance(each, Compare):
            (share.conditions if plan.is_guarded else share.reads).append(Condition(slot, key, each.how, each.version))
            continue
        check_expected(each.expected)
        write = Write(slot, 0, key, each.op, each.body, each.expected, "", 0, fresh=True)
        (share.writes if branch == 1 else share.otherwise).append(write)
        plan.order[branch - 1].append(each)
        plan.first = plan.first or (current.categories[each.category], slot)
    plan.shares = [shares[number] for number in sorted(shares)]
    return plan


def info_of_slot(current: ServiceMap, slot: int) -> CategoryInfo:
    """The category of a slot. Raises UnknownCategoryError."""
    for info in current.categories.values():
        if info.id == category_of_slot(slot) and index_of_slot(slot) < len(info.owners):
            return info
    raise UnknownCategoryError(f"service {current.service!r} has no slot {slot}")
