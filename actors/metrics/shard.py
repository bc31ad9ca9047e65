"""What one shard measures of itself, and a snapshot of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from ddsketch import DDSketch

from lightning_state.actors.core.depths import Depths
from lightning_state.actors.core.effects import Respond
from lightning_state.actors.core.hot import HotEntries
from lightning_state.actors.core.messages import Refused, Request
from lightning_state.actors.metrics.levels import HitWindow, Level
from lightning_state.actors.metrics.memory import Memory
from lightning_state.actors.metrics.outcome import OK, kind_of, outcome_of
from lightning_state.actors.metrics.quantiles import ACCURACY, Quantiles, quantiles_of
from lightning_state.actors.metrics.timings import Timing, Timings


class ShardFigures(msgspec.Struct, frozen=True):
    """A snapshot. Counts are since the process began, rates and quantiles of the last `window_s` seconds."""

    window_s: float
    active: int
    """Frames whose requests are not all answered."""
    requests: list[Timing]
    """From a request's arrival to its reply."""
    verdicts: list[Timing]
    """From asking VERL to its answer: "ok" admits the write."""
    commits: list[Timing]
    """In the store; "commit_unknown" when nobody knows whether they happened."""
    commit_rows: Quantiles
    """Rows of one commit, since the start."""
    rows: int
    """In all commits that succeeded."""
    refusals: dict[str, int]
    """Error code → requests so answered: conflicts, invalid transitions, failed verifications, overload."""
    depths: Depths
    levels: list[Level]
    memory: Memory


class ShardMetrics:
    """Counts and sketches of one shard process. Belongs to its event loop; times are of `now`."""

    def __init__(self, now_s: float | None = None) -> None:
        began_s = now() if now_s is None else now_s
        self._requests = Timings(began_s)
        self._verdicts = Timings(began_s)
        self._commits = Timings(began_s)
        self._commit_rows = DDSketch(ACCURACY)
        self._rows = 0
        self._hot = HitWindow("shard", began_s)

    def __repr__(self) -> str:
        return f"<ShardMetrics requests={self._requests!r} rows={self._rows}>"

    def answered(self, requests: Sequence[Request], responses: Sequence[Respond], began_s: float) -> None:
        """Some of a frame's requests were answered just now; what is alike is measured once."""
        now_s = now()
        elapsed_s = now_s - began_s
        if len(responses) == 1:
            response = responses[0]
            request = requests[response.index]
            self._requests.observe(kind_of(request), outcome_of(response.reply), elapsed_s, now_s)
            return
        alike = Counter((kind_of(requests[each.index]), outcome_of(each.reply)) for each in responses)
        for (kind, outcome), times in alike.items():
            self._requests.observe(kind, outcome, elapsed_s, now_s, times)

    def judged(self, verdicts: Sequence[tuple[float, Refused | None]]) -> None:
        """VERL has answered, for each: when it was asked, and the refusal or None."""
        now_s = now()
        if len(verdicts) == 1:
            [(asked_s, refused)] = verdicts
            self._verdicts.observe("verdict", OK if refused is None else refused.code, now_s - asked_s, now_s)
            return
        alike = Counter((asked_s, OK if refused is None else refused.code) for asked_s, refused in verdicts)
        for (asked_s, outcome), times in alike.items():
            self._verdicts.observe("verdict", outcome, now_s - asked_s, now_s, times)

    def committed(self, rows: int, outcome: str, began_s: float) -> None:
        """A commit of so many rows ended just now."""
        now_s = now()
        self._commits.observe("commit", outcome, now_s - began_s, now_s)
        self._commit_rows.add(rows)
        if outcome == OK:
            self._rows += rows

    def read(self, active: int, depths: Depths, hot: HotEntries, memory: Memory) -> ShardFigures:
        """The snapshot now."""
        now_s = now()
        requests = self._requests.read(now_s)
        refusals: Counter[str] = Counter()
        for timing in requests:
            if timing.outcome != OK:
                refusals[timing.outcome] += timing.count
        level = self._hot.read(
            hot.hits,
            hot.misses,
            now_s,
            entries=len(hot),
            size_bytes=hot.size_bytes,
            limit_bytes=hot.limit_bytes,
        )
        return ShardFigures(
            window_s=self._requests.window_s(now_s),
            active=active,
            requests=requests,
            verdicts=self._verdicts.read(now_s),
            commits=self._commits.read(now_s),
            commit_rows=quantiles_of(self._commit_rows),
            rows=self._rows,
            refusals=dict(refusals),
            depths=depths,
            levels=[level],
            memory=memory,
        )


now = time.perf_counter
"""Seconds of the clock these figures use."""
