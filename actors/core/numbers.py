"""A set of nearby numbers, one bit each."""

from __future__ import annotations

WINDOW = 8 * 1024 * 1024
"""How far above its base a number may be: 1 MiB of bits."""

_WORTH_MOVING_BYTES = 64


class Numbers:
    """Numbers from a base on, which rises; what falls below it is forgotten."""

    __slots__ = ("_base", "_bits")

    def __init__(self) -> None:
        self._base = 0  # a multiple of 8: bits are dropped by whole bytes
        self._bits = bytearray()

    def __repr__(self) -> str:
        return f"<Numbers from {self._base} bytes={len(self._bits)}>"

    def __contains__(self, number: int) -> bool:
        place, bit = divmod(number - self._base, 8)
        return 0 <= place < len(self._bits) and bool(self._bits[place] >> bit & 1)

    @property
    def end(self) -> int:
        """Numbers from here on cannot be added yet."""
        return self._base + WINDOW

    def add(self, number: int) -> None:
        """Add a number; one below the base, or from `end` on, is not kept."""
        place, bit = divmod(number - self._base, 8)
        if not 0 <= place < WINDOW // 8:
            return
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << bit

    def drop_below(self, number: int) -> None:
        """Forget about those below this number. Some of them may stay for a while: moving the rest costs time."""
        places = (number - self._base) // 8
        if places >= max(_WORTH_MOVING_BYTES, len(self._bits) // 2):
            del self._bits[:places]
            self._base += 8 * places
