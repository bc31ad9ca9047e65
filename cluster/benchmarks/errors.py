"""What ends a benchmark."""

from __future__ import annotations

from lightning_state.actors.errors import LightningStateError


class BenchmarkError(LightningStateError):
    """The benchmark met an answer it cannot count: nothing of this run is worth keeping."""

    code = "benchmark"


class PeerAbsentError(LightningStateError):
    """A peer cannot be started here; the benchmark goes on without it and says so."""

    code = "peer_absent"
