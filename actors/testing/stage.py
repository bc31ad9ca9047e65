"""What simulated processes and clients see of the simulation they play in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from lightning_state.actors.core.messages import Frame, Reply
from lightning_state.actors.core.service_map import Granted, ServiceMap
from lightning_state.actors.testing.history import Call
from lightning_state.actors.testing.network import Network
from lightning_state.actors.testing.store import SimulatedStore
from lightning_state.actors.testing.world import World

Answer = Callable[[list[Reply]], None]
"""Takes the replies to a frame back to its sender."""


class Incarnation(Protocol):
    """A shard process as others see it."""

    number: int
    epoch: int
    """The newest one it was granted, 0 before the first."""
    alive: bool
    owner: bool
    """Its lease is valid."""

    def deliver(self, frame: Frame, link: str, answer: Answer) -> None:
        """A frame arrives; its replies go back over the link."""
        ...

    def pause(self, duration_us: int) -> None:
        """SIGSTOP: nothing happens there until later."""
        ...


class Stage(Protocol):
    """The simulation."""

    world: World
    network: Network
    stores: list[SimulatedStore]
    shards: int
    keys: Sequence[str]
    history: list[Call]
    violations: list[str]
    figures: Counter[str]

    def map(self) -> ServiceMap:
        """The directory's current map."""
        ...

    def claim(self, number: int) -> Granted:
        """A new epoch from the directory."""
        ...

    def take_over(self, successor: Incarnation) -> None:
        """The store has a new owner: whoever was it before has lost its lease at this moment."""
        ...

    def suspect(self, process: Incarnation) -> None:
        """The directory takes a running process for dead; it goes on, perhaps after a pause."""
        ...

    def restart_later(self, process: Incarnation) -> None:
        """A process has died; its successor starts soon, unless a newer one is there."""
        ...

    def take_operation(self) -> bool:
        """Whether one more operation is to be done."""
        ...

    def keys_of(self, shard: int) -> list[str]:
        """The keys whose owner is this shard."""
        ...

    def reach(self, shard: int, known: ServiceMap) -> Incarnation | None:
        """Whom a client with this map is connected to: the process it knows, else the newest, if any lives."""
        ...
