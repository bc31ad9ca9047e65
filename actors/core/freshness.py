"""Freshness tokens: what a client has seen of each slot, as an opaque string for the reads of other processes."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from lightning_state.actors.errors import InvalidStateError

_VERSION = 1
_BAD = "this token was not made by token(): pass it on unchanged"


class _Token(msgspec.Struct, frozen=True, array_like=True):
    version: int
    service_id: str
    slots: dict[int, tuple[int, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Token)


class Seen:
    """Slot → the newest (epoch, revision) that one client has read or written."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Seen slots={len(self._slots)}>"

    def note(self, slot: int, epoch: int, revision: int) -> None:
        """An answer reflected this revision."""
        if (epoch, revision) > self._slots.get(slot, (0, 0)):
            self._slots[slot] = epoch, revision

    def note_all(self, slots: Mapping[int, tuple[int, int]]) -> None:
        """What another client had seen, by its token: whoever reads after this one reads after that one."""
        for slot, (epoch, revision) in slots.items():
            self.note(slot, epoch, revision)

    def token(self, service_id: str) -> str:
        """All of it as an opaque string."""
        return urlsafe_b64encode(_encoder.encode(_Token(_VERSION, service_id, dict(self._slots)))).decode()


@lru_cache(maxsize=256)
def slots_of_token(token: str, service_id: str) -> Mapping[int, tuple[int, int]]:
    """Slot → (epoch, revision) that a read must reflect. Raises InvalidStateError for another service's token."""
    try:
        read = _decoder.decode(urlsafe_b64decode(token.encode()))
    except (msgspec.DecodeError, msgspec.ValidationError, Base64Error, UnicodeError, ValueError) as error:
        raise InvalidStateError(_BAD) from error
    if read.version != _VERSION:
        raise InvalidStateError(f"{_BAD} (it has version {read.version}, this program knows {_VERSION})")
    if read.service_id != service_id:
        raise InvalidStateError("this token was made by a client of another service: revisions are never compared")
    return read.slots
