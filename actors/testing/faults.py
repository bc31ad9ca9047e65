"""What goes wrong in a simulated run, and how often. Probabilities are per opportunity, times in microseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The default gives every run of 400 operations some of nearly everything."""

    loss: float = 0.02
    """A frame or a reply never arrives."""
    duplication: float = 0.03
    """A frame arrives twice."""
    slow: float = 0.05
    """A message, load or commit takes up to `slow_us` instead of up to `usual_us`."""
    usual_us: int = 400
    slow_us: int = 60_000
    cut: float = 0.004
    """Sending a message cuts its link, both ways, for up to `cut_us`."""
    cut_us: int = 150_000
    crash: float = 0.0012
    """A shard process dies before an effect."""
    suspicion: float = 0.0008
    """A running shard is taken for dead and replaced before an effect: from here on it is a zombie."""
    pause: float = 0.5
    """A zombie is a stopped process that goes on later, up to `slow_us`."""
    commit_refused: float = 0.015
    """An error before COMMIT."""
    commit_unknown: float = 0.008
    """An error of COMMIT: half of them were written, some of those only later."""
    store_read: float = 0.01
    """A load, lookup or scan fails."""
    verdict_refused: float = 0.03
    verdict_missing: float = 0.01
    evict: float = 0.2
    """A step of a shard forgets some of its hot entries."""
    compact: float = 0.3
    """Taking ownership drops the tombstones and raises the version floor."""
    cancel: float = 0.01
    """A caller gives up while its request is under way."""


CALM = Faults(
    loss=0, duplication=0, slow=0, cut=0, crash=0, suspicion=0, commit_refused=0, commit_unknown=0, store_read=0,
    verdict_refused=0, verdict_missing=0, evict=0, compact=0, cancel=0,
)  # fmt: skip
"""Nothing goes wrong: how a run ends, so that its end state can be read."""
