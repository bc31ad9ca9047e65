"""The service's end of the direct channel: a Unix socket for this node, TCP for the others, on the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Protocol

from lightning_state.actors.limits import Limits
from lightning_state.actors.wire import handshake
from lightning_state.actors.wire.endpoint import Endpoint, this_host
from lightning_state.actors.wire.handshake import Challenge, Hello, Welcome
from lightning_state.actors.wire.peer import Peer

logger = logging.getLogger(__name__)

CONNECTIONS = 1_024
"""Open connections to one process; the next is refused, and its client stays with the actor handle."""

STRANGERS = 64
"""Connections that have not proved themselves yet: they never take a client's place."""

SILENT_S = 10.0
"""A connection that tracks keys and is silent for this long is closed. Clients ping every second."""

_SOCKET = "s"
_PATH_BYTES = 107
"""Of a Unix socket's path, on Linux."""
_TOKEN_BYTES = 32
_BACKLOG = 128


class Served(Protocol):
    """What answers behind a listener. Called on the event loop; must not block it."""

    def check(self, hello: Hello) -> None:
        """Raises the error a client is refused with: another service, another epoch, not ready."""
        ...

    def request(self, peer: Peer, number: int, data: bytes) -> None:
        """A frame; answered now or later by `peer.reply`, or by parts. Never raises."""
        ...

    def left(self, peer: Peer) -> None:
        """The connection is gone."""
        ...


class Listener:
    """Listens for one process. The endpoint is valid from `open` to `close`."""

    def __init__(self, served: Served, *, name: str, address: str = "", frame_bytes: int | None = None) -> None:
        """`name`: of the actor, to tell its sockets from others. `address`: of this node, empty for no TCP."""
        self.frame_bytes = frame_bytes or Limits().frame_bytes
        self._served = served
        self._name = name
        self._address = address
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        self._directory: Path | None = None
        self._servers: list[asyncio.Server] = []
        self._peers: set[Peer] = set()
        self._strangers: set[Peer] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Listener {self._name} connections={len(self._peers)} strangers={len(self._strangers)}>"

    def __len__(self) -> int:
        return len(self._peers)

    async def open(self) -> Endpoint:
        """Listen. What cannot be had is left out: clients use what there is, and the actor handle without any."""
        loop = asyncio.get_running_loop()
        path, port = "", 0
        try:
            path = str(self._make_directory() / _SOCKET)
            self._servers.append(await loop.create_unix_server(lambda: Peer(self), path, backlog=_BACKLOG))
        except OSError as error:
            logger.warning("%s has no Unix socket: %s", self._name, error)
            path = ""
        if self._address:
            try:
                server = await loop.create_server(lambda: Peer(self), self._address, 0, backlog=_BACKLOG)
                self._servers.append(server)
                port = server.sockets[0].getsockname()[1]
            except OSError as error:
                logger.warning("%s has no TCP socket on %s: %s", self._name, self._address, error)
        self._sweep()
        return Endpoint(this_host(), path, self._address if port else "", port, self._token)

    def disconnect(self) -> None:
        """Close every connection; clients come back by themselves, with what they know by then."""
        for peer in [*self._peers, *self._strangers]:
            peer.close()

    async def close(self) -> None:
        """Stop listening, close every connection and remove the socket."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.disconnect()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    # -- what connections tell ---

    def arrived(self, peer: Peer) -> bool:
        """A stranger; False when there is no place for it."""
        if len(self._strangers) >= STRANGERS or len(self._peers) >= CONNECTIONS:
            return False
        self._strangers.add(peer)
        return True

    def welcome(self, challenge: Challenge, hello: Hello) -> Welcome:
        """The answer to a Hello. The proof is checked first: strangers learn nothing from the rest."""
        answer = handshake.welcome(challenge, hello, self._token, self.frame_bytes)
        self._served.check(hello)
        return answer

    def greeted(self, peer: Peer) -> None:
        """The stranger is a client now."""
        self._strangers.discard(peer)
        self._peers.add(peer)

    def requested(self, peer: Peer, number: int, data: bytes) -> None:
        """A frame of a client."""
        self._served.request(peer, number, data)

    def left(self, peer: Peer) -> None:
        """The connection is gone."""
        self._strangers.discard(peer)
        if peer in self._peers:
            self._peers.discard(peer)
            self._served.left(peer)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for peer in [peer for peer in self._peers if peer.tracks and loop.time() - peer.heard_s > SILENT_S]:
            peer.close()
        self._sweeping = loop.call_later(1.0, self._sweep)

    def _make_directory(self) -> Path:
        """A directory of this process alone, for its user alone, short enough for a socket's path."""
        prefix = f"lightning-state-{hashlib.sha256(self._name.encode()).hexdigest()[:8]}-"
        places = [Path(place) for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp") if place]  # noqa: S108  # mkdtemp makes it 0700 and unguessable
        for parent in places:
            if len(os.fsencode(parent)) + len(prefix) + 16 > _PATH_BYTES or not os.access(parent, os.W_OK):
                continue
            _remove_stale(parent, prefix)
            self._directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            return self._directory
        raise OSError(f"no writable directory with a short path among {', '.join(map(str, places))}")


def _remove_stale(parent: Path, prefix: str) -> None:
    """Predecessors that were killed left their directories behind: those in which nobody listens are removed."""
    for directory in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.1)
            if directory.stat().st_uid != os.getuid():
                continue
            try:
                probe.connect(str(directory / _SOCKET))
            except ConnectionRefusedError:
                shutil.rmtree(directory, ignore_errors=True)
