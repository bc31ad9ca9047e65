"""Where a direct channel listens, and the secret that opens it: one opaque string in the service map."""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from typing import Self

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """The addresses of one process. It travels over actor handles only, which Ray authenticates."""

    host: str
    """`this_host()` of that process: where it is the same, the Unix socket is taken."""
    unix: str
    """Path of the Unix socket."""
    address: str
    """IP address for other nodes; empty without TCP."""
    port: int
    token: bytes
    """Made at random by that process, gone with it. Never sent over the channel: both sides prove that they know it."""

    def __repr__(self) -> str:
        return f"<Endpoint {self.unix} {self.address}:{self.port}>"

    def encode(self) -> str:
        """As the service map carries it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """From the service map; None for what a process without a channel, or of another version, gave."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether that process is on this host."""
        return self.host == this_host()


@functools.cache
def this_host() -> str:
    """Names this host until it boots again. An IP address would not do: several nodes may share one, or change it."""
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}"
