"""What owners did with locks, and what clients were told of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lightning_state.actors.testing.history import NEVER, Outcome, Token


class LockAct(StrEnum):
    """What an owner did."""

    TAKEOVER = "takeover"
    """It became the owner of a slot. Its clock is another one; leases begin anew, whoever waited has to ask again."""
    WAIT = "wait"
    """It put somebody into the queue of a key."""
    LEAVE = "leave"
    """It took somebody out of the queue who was not granted the lock: timed out, gave up, died."""
    GRANT = "grant"
    RENEW = "renew"
    RELEASE = "release"
    """It ended a lease before its time, whoever asked for that."""
    WRITE = "write"
    """It committed a change of a key, of a transaction or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEvent:
    """One thing an owner did, from the journal or noted where it happened. Events come in the order they were done."""

    act: LockAct
    at_us: int
    """By the owner's clock, in microseconds. Clocks of two owners are never compared."""
    epoch: int
    """The owner's."""
    slot: int = 0
    """Every event of a key has its slot; a TAKEOVER has nothing else."""
    key: str = ""
    holder: str = ""
    """WAIT, LEAVE, GRANT: who; one name for one attempt to get the lock."""
    token: Token | None = None
    """GRANT, RENEW, RELEASE: the grant's. WRITE: the one it carried, None without."""
    lasts_us: int = 0
    """GRANT, RENEW: the lease's TTL. WAIT: how long the waiter is ready to wait, 0 for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHold:
    """One attempt of a client to get a lock, and what became of it.

    Times are ticks of one clock, which keeps time with the owner's.
    """

    client: str
    key: str
    invoked: int
    """When it asked."""
    returned: int = NEVER
    """When it was told."""
    outcome: Outcome = Outcome.UNKNOWN
    """OK: granted; REFUSED: not granted; UNKNOWN: it may have been granted."""
    token: Token | None = None
    """OK: the grant's."""
    lasts: int = 0
    """The lease's TTL, in ticks."""
    renewals: tuple[tuple[int, int], ...] = ()
    """When it asked for each acknowledged renewal, and when it was told; in order."""
    released: tuple[int, int] | None = None
    """When it asked for its release, and when that was acknowledged (NEVER: it was not)."""
    queued: tuple[int, int] | None = None
    """When it was known to wait, and the epoch of the owner it waited at; None if that was never told."""

    @property
    def sure(self) -> list[tuple[int, int]]:
        """From when to when the lease surely lives, whatever the owner's clock says.

        From an answer until a TTL after its question, and no longer than until its release was asked for.
        """
        end = self.released[0] if self.released else NEVER
        found: list[tuple[int, int]] = []
        for asked, told in ((self.invoked, self.returned), *self.renewals):
            until = min(asked + self.lasts, end)
            if found and told <= found[-1][1]:
                found[-1] = found[-1][0], max(until, found[-1][1])
            elif told < until:
                found.append((told, until))
        return found
