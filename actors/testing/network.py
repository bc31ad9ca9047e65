"""The simulated network: messages are lost, delayed, overtaken and duplicated; links are cut for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from lightning_state.actors.testing.faults import Faults
from lightning_state.actors.testing.world import World


class Network:
    """Delivers messages between named ends, or does not."""

    def __init__(self, world: World, faults: Faults, figures: Counter[str]) -> None:
        self.faults = faults
        self._world = world
        self._figures = figures
        self._cut_until_us: dict[str, int] = {}

    def delay_us(self) -> int:
        """How long something takes that usually takes up to `usual_us`."""
        roll = self._world.random.random()
        if roll < self.faults.slow:
            return 1 + int(roll / self.faults.slow * self.faults.slow_us)
        return 1 + int(roll * self.faults.usual_us)

    def send(self, link: str, deliver: Callable[..., None], *arguments: Any) -> None:
        """Call `deliver` later, once, twice or never."""
        world, faults = self._world, self.faults
        if world.now_us < self._cut_until_us.get(link, 0):
            self._figures["cut"] += 1
            return
        if world.chance(faults.cut):
            self._cut_until_us[link] = world.now_us + int(world.random.random() * faults.cut_us)
        if world.chance(faults.loss):
            self._figures["lost"] += 1
            return
        world.after(self.delay_us(), deliver, *arguments)
        if world.chance(faults.duplication):
            self._figures["duplicated"] += 1
            world.after(self.delay_us(), deliver, *arguments)

    def heal(self, faults: Faults) -> None:
        """From now on, as `faults` say; cut links are whole again."""
        self.faults = faults
        self._cut_until_us.clear()
