"""What a running service looks like now: the figures behind `status`."""

from __future__ import annotations

import msgspec
import ray

from lightning_state.actors.errors import ServiceNotFoundError
from lightning_state.actors.metrics.alerts import Alert, alerts
from lightning_state.actors.metrics.timings import Timing
from lightning_state.actors.shard_actor.runtime import ShardStatus
from lightning_state.actors.tables import record_table
from lightning_state.cluster.pool import pool_view
from lightning_state.cluster.service import is_running, service_map, shard_status


class ShardAlert(msgspec.Struct, frozen=True):
    """An alert and the shard that raises it."""

    shard: int
    alert: Alert


class ServiceReport(msgspec.Struct, frozen=True, rename="camel"):
    """Figures of a service. A shard that does not answer is there with the state "unreachable"."""

    service: str
    service_id: str
    address: str
    data_dir: str
    map_version: int
    categories: list[str]
    shards: list[ShardStatus]
    validators: list[str]
    validators_desired: int
    validator_utilisation: float
    alerts: list[ShardAlert]
    """What needs a person's eye, by the thresholds of R11; it does not make a service unhealthy."""

    def __repr__(self) -> str:
        condition = "healthy" if self.healthy else "unhealthy"
        return f"<ServiceReport {self.service} {condition} shards={len(self.shards)} validators={len(self.validators)}>"

    @property
    def healthy(self) -> bool:
        """Every shard serves and a validator is there."""
        return bool(self.validators) and all(shard.state == "serving" for shard in self.shards)

    def _repr_html_(self) -> str:
        shown = {
            "healthy": self.healthy,
            "categories": self.categories,
            "validators": f"{len(self.validators)} of {self.validators_desired} wanted, "
            f"utilisation {self.validator_utilisation:.0%}",
            "shards": [_shown_shard(shard) for shard in self.shards],
            "latencies": [_shown_timing(shard.number, timing) for shard in self.shards for timing in _timings(shard)],
            "alerts": [f"shard {each.shard}: {each.alert.message}" for each in self.alerts],
        }
        return record_table(shown, f"service {self.service}")


def report(service: str) -> ServiceReport:
    """The figures of a service on the Ray this process is connected to.

    Raises ServiceNotFoundError when there is none of this name.
    """
    if not is_running(service):
        raise ServiceNotFoundError(f"no service {service!r} runs on this Ray: start one with `lightning-state up`")
    current = service_map(service)
    pool = pool_view(service)
    shards = [_shard(service, info.number, info.epoch, info.pid) for info in current.shards]
    return ServiceReport(
        service=current.service,
        service_id=current.service_id,
        address=ray.get_runtime_context().gcs_address,
        data_dir=str(current.settings["data_dir"]),
        map_version=current.version,
        categories=sorted(current.categories),
        shards=shards,
        validators=pool.members if pool else [],
        validators_desired=pool.desired if pool else 0,
        validator_utilisation=pool.utilisation if pool else 0.0,
        alerts=[
            ShardAlert(shard.number, alert)
            for shard in shards
            if shard.figures is not None
            for alert in alerts(shard.figures)
        ],
    )


def _shard(service: str, number: int, epoch: int, pid: int) -> ShardStatus:
    return shard_status(service, number) or ShardStatus(
        number, "unreachable", "its process does not answer", epoch, pid, 0, 0, 0, 0, 0, 0, 0, None
    )


def _timings(shard: ShardStatus) -> list[Timing]:
    figures = shard.figures
    return [] if figures is None else [*figures.requests, *figures.verdicts, *figures.commits]


def _shown_shard(shard: ShardStatus) -> dict[str, object]:
    return {
        "shard": shard.number,
        "state": shard.state,
        "failure": shard.failure,
        "epoch": shard.epoch,
        "keys": shard.store.keys if shard.store else None,
        "commits": shard.commits,
        "rows": shard.rows_committed,
        "memory MiB": shard.memory_bytes / 2**20,
    }


def _shown_timing(number: int, timing: Timing) -> dict[str, object]:
    """Quantiles are left empty when nothing of the kind happened in the last minute."""
    shown: dict[str, object] = {
        "shard": number,
        "operation": timing.operation,
        "outcome": timing.outcome,
        "count": timing.count,
    }
    if timing.recent:
        shown |= {"p50 ms": timing.p50_ms, "p95 ms": timing.p95_ms, "p99 ms": timing.p99_ms}
    return shown
