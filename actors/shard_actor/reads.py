"""Reading many at once from the store, so that damage is told of where it is and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lightning_state.actors.errors import StoreCorruptError

Wanted = TypeVar("Wanted")
Found = TypeVar("Found")


def read_each(
    read: Callable[[Sequence[Wanted]], Sequence[Found]], wanted: Sequence[Wanted]
) -> list[Found | StoreCorruptError]:
    """What is found of each, in order: one read of all, and one read each when something among them is damaged.

    Raises what else `read` raises, which concerns all.
    """
    try:
        return list(read(wanted))
    except StoreCorruptError as error:
        if len(wanted) == 1:
            return [error]
    return [found for each in wanted for found in read_each(read, [each])]
