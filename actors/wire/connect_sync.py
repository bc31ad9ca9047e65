"""Opening a connection of the direct channel for threads: the handshake, on a blocking socket."""

from __future__ import annotations

import secrets
import socket
import struct
import time

from lightning_state.actors.errors import LightningStateError, ShardUnavailableError
from lightning_state.actors.wire import handshake
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.framing import HANDSHAKE_BYTES, RECORD_BYTES, Kind, Record, RecordParser, pack
from lightning_state.actors.wire.handshake import NONCE_BYTES, Challenge, Target, Welcome
from lightning_state.actors.wire.revival import CONNECT_S, PING_S, SILENT_S
from lightning_state.actors.wire.translate import translate


def connect_socket(endpoint: Endpoint, target: Target) -> tuple[socket.socket, RecordParser, int]:
    """(socket, parser, longest frame) after the handshake: by the Unix socket on the same host, else by TCP.

    Reads of the socket wait for PING_S, writes for SILENT_S. Raises ShardUnavailableError, NotOwnerError (another
    epoch), UnauthenticatedError or ProtocolError; within CONNECT_S per way.
    """
    failure: LightningStateError = ShardUnavailableError(f"{target.name} has no channel that can be reached from here")
    ways: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = []
    if endpoint.unix and endpoint.is_here:
        ways.append((socket.AF_UNIX, endpoint.unix))
    if endpoint.port:
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        ways.append((family, (endpoint.address, endpoint.port)))
    for family, address in ways:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            parser, frame_bytes = _shake_hands(sock, address, endpoint, target)
        except OSError as error:
            failure = translate(error, target.name)
        except LightningStateError:
            sock.close()
            raise
        else:
            return sock, parser, frame_bytes
        sock.close()
    raise failure


def _shake_hands(
    sock: socket.socket, address: str | tuple[str, int], endpoint: Endpoint, target: Target
) -> tuple[RecordParser, int]:
    deadline_s = time.monotonic() + CONNECT_S
    sock.settimeout(CONNECT_S)
    sock.connect(address)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    parser = RecordParser(HANDSHAKE_BYTES)
    challenge = handshake.read(_next(sock, parser, deadline_s), Kind.CHALLENGE, Challenge)
    hello = handshake.hello(challenge, target, endpoint.token, secrets.token_bytes(NONCE_BYTES))
    sock.sendall(pack(Kind.HELLO, 0, handshake.encode(hello)))
    welcome = handshake.read(_next(sock, parser, deadline_s), Kind.WELCOME, Welcome)
    handshake.check_welcome(welcome, challenge, hello, endpoint.token)
    parser.limit_bytes = RECORD_BYTES
    # Timeouts of the kernel: Python's own would cost another system call for every read and write.
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(PING_S))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(SILENT_S))
    return parser, welcome.frame_bytes


def _next(sock: socket.socket, parser: RecordParser, deadline_s: float) -> Record:
    """The next record of a handshake, in which each side waits for the other: there is never a second one."""
    while True:
        sock.settimeout(max(0.001, deadline_s - time.monotonic()))
        data = sock.recv(HANDSHAKE_BYTES)
        if not data:
            raise ShardUnavailableError("the channel was closed during the handshake")
        for record in parser.feed(data):
            return record


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
