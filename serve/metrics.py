"""What one replica counts of the requests it answers, as JSON and in Prometheus' text format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_PREFIX = "lightning_state_http"
_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)


class RequestMetrics:
    """Requests by operation and status, latency by operation, requests under way."""

    def __init__(self, replica: str) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            f"{_PREFIX}_requests", "Requests answered.", ["replica", "operation", "status"], registry=registry
        )
        self._latency = Histogram(
            f"{_PREFIX}_latency_seconds",
            "Time from a request's headers to its answer.",
            ["replica", "operation"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        active = Gauge(f"{_PREFIX}_active_requests", "Requests under way.", ["replica"], registry=registry)
        self._replica = replica
        self._active = active.labels(replica)
        self._counted: dict[tuple[str, int], Any] = {}
        self._timed: dict[str, Any] = {}

    def began(self) -> None:
        """A request arrived."""
        self._active.inc()

    def ended(self, operation: str, status: int, latency_s: float) -> None:
        """It was answered, or given up by its caller (status 499)."""
        self._active.dec()
        counter = self._counted.get((operation, status))
        if counter is None:  # labels() costs more than counting
            counter = self._counted[operation, status] = self._requests.labels(self._replica, operation, str(status))
        counter.inc()
        timer = self._timed.get(operation)
        if timer is None:
            timer = self._timed[operation] = self._latency.labels(self._replica, operation)
        timer.observe(latency_s)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def read(self) -> dict[str, Any]:
        """Counts by operation and status."""
        counts: dict[str, dict[str, int]] = {}
        for metric in self._requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    counts.setdefault(sample.labels["operation"], {})[sample.labels["status"]] = int(sample.value)
        return counts
