"""Starts a service on Ray, and holds it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

import msgspec
import ray
from ray.exceptions import ActorAlreadyExistsError, RayError

from lightning_state.actors.category import BUILT_IN, Category
from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.service_map import Register, ServiceMap
from lightning_state.actors.directory_actor.actor import DirectoryActor
from lightning_state.actors.errors import (
    DataDirectoryError,
    ShardUnavailableError,
    StoreCorruptError,
    ValidationUnavailableError,
)
from lightning_state.actors.processes import has_ended, name_of, parent_of, start_time_ticks
from lightning_state.actors.settings import Settings
from lightning_state.actors.shard_actor.actor import ShardActor
from lightning_state.actors.shard_actor.runtime import ShardStatus
from lightning_state.actors.store.data_directory import DataDirectory
from lightning_state.actors.verl_actor import start_pool
from lightning_state.actors.wire.directory_link import DirectoryLink
from lightning_state.actors.wire.names import NAMESPACE, directory_name, pool_name, shard_name
from lightning_state.actors.wire.ray_access import RayAccess, forget_access, write_access
from lightning_state.cluster.pool import pool_view
from lightning_state.cluster.ray_runtime import RayRuntime, join_or_start_ray
from lightning_state.serve.start import HttpEndpoint, check_port_free, start_http, stop_http

logger = logging.getLogger(__name__)

_READY_WITHIN_S = 60.0
_POLL_S = 0.02
_CLOSE_WITHIN_S = 10.0
_ORPHANS_END_WITHIN_S = 30.0
_NODE_SHARE = 0.001
_MAX_CONCURRENCY = 10_000
"""Waiting frames hold a place each for up to a second; a ping must never wait behind them."""


class Service:
    """A running service. Leaving the `with` block, or `stop`, ends it; its data stays in the data directory."""

    def __init__(self, settings: Settings, runtime: RayRuntime, http: HttpEndpoint | None = None) -> None:
        self.settings = settings
        self.runtime = runtime
        self.http = http
        """Where it answers HTTP, and with which token; None: it does not."""
        self._running = True

    def __repr__(self) -> str:
        state = "running" if self._running else "stopped"
        return f"<Service {self.name} {state} shards={self.settings.shards} address={self.runtime.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def name(self) -> str:
        """What clients connect to: `StateClient.connect(service=name)`."""
        return self.settings.service

    def client(self) -> StateClient:
        """A new client of this service."""
        return StateClient.connect(service=self.name)

    def async_client(self) -> AsyncStateClient:
        """A new asyncio client of this service."""
        return AsyncStateClient.connect(service=self.name)

    def stop(self) -> None:
        """End the service's actors; a Ray started by `start` ends too. Every acknowledged write is on disk already."""
        if not self._running:
            return
        self._running = False
        try:
            if self.http is not None:
                stop_http(self.name)
            stop_service(self.name)
        finally:  # also when Ray or an actor does not answer: a Ray started here takes all of them along
            forget_access(self.name)
            self.runtime.leave()


def start(*, categories: Sequence[Category[Any]] = (), **settings: Any) -> Service:
    """Start a service and wait until it serves. Joins a running Ray or starts one.

    Settings (see `Settings`): data_dir, service, store, shards, address, http_port, … ; `categories` are registered
    beside the built-in ones. Raises SettingsError, DataDirectoryError (unwritable, in use, made by a newer version, or
    this service runs already), StoreCorruptError, ServiceNotFoundError (Ray cannot be joined), CategoryMismatchError,
    PortInUseError, HttpUnavailableError and ShardUnavailableError or ValidationUnavailableError (not up within 60 s).
    """
    read = Settings.read(**settings)
    read = read.model_copy(update={"data_dir": read.data_dir.absolute()})
    if read.http_port is not None and not ray.is_initialized():
        check_port_free(read.http_host, read.http_port)  # before seconds are spent on starting Ray
    runtime = join_or_start_ray(read.address, read.service, with_http=read.http_port is not None)
    try:
        return _start(read, runtime, [*BUILT_IN, *categories])
    except BaseException:  # whatever it was, it goes on upwards; nothing half-started may stay
        runtime.leave()
        raise


def _start(settings: Settings, runtime: RayRuntime, categories: Sequence[Category[Any]]) -> Service:
    if is_running(settings.service):
        raise _runs_already(settings.service)
    files = _data_directory(settings)
    settings = settings.model_copy(update={"shards": files.shards})
    _start_directory(settings)  # outside the try: when another start was faster, what runs under this name is its own
    try:
        _start_others(settings, categories)
        _wait_until_serving(settings)
        http = _start_http(settings)
        write_access(_access(settings, runtime))
    except BaseException:  # whatever it was, it goes on upwards; nothing half-started may stay
        if settings.http_port is not None and not runtime.started_here:
            stop_http(settings.service)
        stop_service(settings.service)
        raise
    return Service(settings, runtime, http)


def _start_http(settings: Settings) -> HttpEndpoint | None:
    if settings.http_port is None:
        return None
    return start_http(settings.service, settings.data_dir, settings.http_port, settings.http_host, settings.limits)


def _access(settings: Settings, runtime: RayRuntime) -> RayAccess:
    return RayAccess(
        settings.service,
        runtime.address,
        runtime.auth_mode,
        os.getpid(),
        start_time_ticks(os.getpid()) or 0,
        str(settings.data_dir),
    )


def _data_directory(settings: Settings) -> DataDirectory:
    """The service's files, made now if there are none; the only place where they are ever made."""
    if not DataDirectory.exists(settings.data_dir):
        return DataDirectory.create(settings.data_dir, settings.service, settings.shards)
    files = DataDirectory.open(settings.data_dir, settings.service)
    _wait_until_free(files)
    return files


def _wait_until_free(files: DataDirectory) -> None:
    """Raise DataDirectoryError while a running service holds the files.

    Actors whose Ray was killed end by themselves within seconds: those are waited for.
    """
    deadline_s = time.monotonic() + _ORPHANS_END_WITHIN_S
    while True:
        try:
            files.check_unused()
        except DataDirectoryError as error:
            holder: int | None = error.details.get("holder_pid")
            if holder is None or not _is_orphan(holder) or time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _is_orphan(pid: int) -> bool:
    """Whether this is a Ray worker that has lost its Ray: the raylet, which starts every worker, is gone."""
    parent = parent_of(pid)
    return parent is None or (name_of(pid).startswith("ray::") and name_of(parent) != "raylet")


def _runs_already(service: str) -> DataDirectoryError:
    return DataDirectoryError(
        f"service {service!r} runs already on this Ray: connect to it with StateClient.connect(service={service!r}), "
        "or choose another service name"
    )


def _start_directory(settings: Settings) -> None:
    """Raises DataDirectoryError when another start has taken the name since `is_running` looked."""
    service, data_dir = settings.service, str(settings.data_dir)
    try:
        _start_actor(DirectoryActor, directory_name(service), _here(), service, data_dir, settings.model_dump_json())
    except ActorAlreadyExistsError as error:
        raise _runs_already(service) from error


def _start_others(settings: Settings, categories: Sequence[Category[Any]]) -> None:
    service, data_dir = settings.service, str(settings.data_dir)
    start_pool(service, settings)
    directory = DirectoryLink(service)
    deadline_s = time.monotonic() + _READY_WITHIN_S
    for category in categories:
        request = Register(category.name, category.import_path, category.hash, category.schema_version)
        _until_answered(lambda request=request: directory.register(request), deadline_s)
    for number in range(settings.shards):
        _start_actor(ShardActor, shard_name(service, number), _here(), service, number, data_dir)


def _start_actor(kind: type, name: str, resources: dict[str, float], *arguments: Any) -> None:
    actor = cast("Any", ray.remote(kind))
    actor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        resources=resources,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=_MAX_CONCURRENCY,
    ).remote(*arguments)


def _until_answered(ask: Any, deadline_s: float) -> Any:
    """Ask again while the directory is starting."""
    while True:
        try:
            return ask()
        except ShardUnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)


def _wait_until_serving(settings: Settings) -> None:
    deadline_s = time.monotonic() + _READY_WITHIN_S
    for number in range(settings.shards):
        while True:
            status = shard_status(settings.service, number)
            if status is not None and status.state == "serving":
                break
            if status is not None and status.state == "failed":
                raise StoreCorruptError(status.failure)
            if time.monotonic() > deadline_s:
                reason = status.failure if status else "its process does not answer"
                raise ShardUnavailableError(f"shard {number} does not serve after {_READY_WITHIN_S:.0f} s: {reason}")
            time.sleep(_POLL_S)
    while (pool := pool_view(settings.service)) is None or not pool.members:
        if time.monotonic() > deadline_s:
            raise ValidationUnavailableError(
                f"no validator answers after {_READY_WITHIN_S:.0f} s: nothing can be written"
            )
        time.sleep(_POLL_S)


def _here() -> dict[str, float]:
    """SQLite files are on this node: a restarted actor waits for it instead of starting empty elsewhere."""
    return {f"node:{ray.util.get_node_ip_address()}": _NODE_SHARE}


def is_running(service: str) -> bool:
    """Whether the Ray this process is connected to has a service of this name."""
    try:
        ray.get_actor(directory_name(service), namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def shard_status(service: str, number: int, timeout_s: float = 5.0) -> ShardStatus | None:
    """A shard's figures; None while it does not answer."""
    try:
        handle = ray.get_actor(shard_name(service, number), namespace=NAMESPACE)
        data = cast("bytes", ray.get(handle.status.remote(), timeout=timeout_s))
        return msgspec.msgpack.decode(data, type=ShardStatus)
    except (ValueError, RayError):
        return None


def service_map(service: str) -> ServiceMap:
    """The directory's current map. Raises ServiceNotFoundError when there is no such service."""
    return DirectoryLink(service).describe()


def stop_service(service: str) -> None:
    """End every actor of a service on the Ray this process is connected to, and wait until their processes are gone.

    Shards close their stores first. The data directory may be used again when this returns.
    """
    # The directory and the pool's supervisor first: they would replace what ends, and one that is starting a validator
    # finishes that before it dies.
    supervisors = _handles([directory_name(service), pool_name(service)])
    pids = _pids(supervisors.values())
    for handle in supervisors.values():
        ray.kill(handle)
    _wait_until_gone(pids)
    deadline_s = time.monotonic() + _CLOSE_WITHIN_S
    while (others := _handles(_actors_of(service))) and time.monotonic() < deadline_s:
        _end(others)


def _actors_of(service: str) -> list[str]:
    """Names of all of a service's actors that Ray knows."""
    prefix = directory_name(service).removesuffix("directory")
    listed = cast("list[dict[str, str]]", ray.util.list_named_actors(all_namespaces=True))
    return [actor["name"] for actor in listed if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix)]


def _handles(names: Sequence[str]) -> dict[str, Any]:
    """Name → handle of those that are there."""
    return {name: handle for name in names if (handle := _find(name)) is not None}


def _end(actors: Mapping[str, Any]) -> None:
    """Let shards and validators close, kill all, and wait for the processes that hold files."""
    pids = _pids([handle for name, handle in actors.items() if "/shard/" in name])
    closing = [handle.close.remote() for name, handle in actors.items() if "/shard/" in name or "/verl/" in name]
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_WITHIN_S)
    for handle in actors.values():
        ray.kill(handle)
    _wait_until_gone(pids)


def _pids(handles: Collection[Any]) -> list[int]:
    asked = [handle.ping.remote() for handle in handles]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=1.0) if asked else ([], [])
    pids: list[int] = []
    for answer in answered:
        try:
            pids.append(cast("int", ray.get(answer)))
        except RayError:  # that one is gone already
            continue
    return pids


def _wait_until_gone(pids: Sequence[int]) -> None:
    """Their locks on the files end with them. Processes of other nodes are not seen from here, nor their files."""
    deadline_s = time.monotonic() + _CLOSE_WITHIN_S
    while not all(has_ended(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)


def _find(name: str) -> Any:
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
