"""How many validators there should be: up when busy, down when idle, never twice within the cool-down."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil, fsum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_state.actors.settings import VerlSettings  # reads files when built; here only its values are used

WINDOW = 3
"""Samples a decision rests on: one busy moment is not load."""


@dataclass(frozen=True)
class ScalingDecision:
    """How many validators to have, and why."""

    desired: int
    reason: str
    is_change: bool


class ScalingPolicy:
    """Pure and stateful: fed one utilisation sample a tick (0–1, the mean over the pool) with the time in seconds."""

    def __init__(self, settings: VerlSettings) -> None:
        self._settings = settings
        self._samples: deque[float] = deque(maxlen=WINDOW)
        self._changed_s: float | None = None

    def decide(self, running: int, utilisation: float, now_s: float) -> ScalingDecision:
        """What to do with `running` validators at this utilisation. The caller then does it."""
        settings = self._settings
        self._samples.append(utilisation)
        if running < settings.min_validators:
            return self._change(
                settings.min_validators, f"{running} running, at least {settings.min_validators}", now_s
            )
        if running > settings.max_validators:
            return self._change(settings.max_validators, f"{running} running, at most {settings.max_validators}", now_s)
        load = round(fsum(self._samples) / len(self._samples), 9)
        shown = f"utilisation {load:.0%}"
        if len(self._samples) < WINDOW:
            return ScalingDecision(running, f"{shown}, too few samples yet", is_change=False)
        if self._changed_s is not None and now_s - self._changed_s < settings.cooldown_s:
            return ScalingDecision(running, f"{shown}, cooling down", is_change=False)
        if load >= settings.scale_up_at and running < settings.max_validators:
            # As many as would bring the load to the threshold: a saturated pool grows faster than one by one.
            wanted = min(settings.max_validators, max(running + 1, ceil(running * load / settings.scale_up_at)))
            return self._change(wanted, f"{shown}, at or over {settings.scale_up_at:.0%}", now_s)
        if load <= settings.scale_down_at and running > settings.min_validators:
            if load * running / (running - 1) < settings.scale_up_at:
                return self._change(running - 1, f"{shown}, at or under {settings.scale_down_at:.0%}", now_s)
            return ScalingDecision(running, f"{shown}: one fewer would be too busy", is_change=False)
        return ScalingDecision(running, shown, is_change=False)

    def _change(self, desired: int, reason: str, now_s: float) -> ScalingDecision:
        self._changed_s = now_s
        self._samples.clear()
        return ScalingDecision(desired, reason, is_change=True)
