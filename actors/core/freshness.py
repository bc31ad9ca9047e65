"""Freshness tokens: what a client has seen of each slot, as an opaque string for the reads of other processes."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lightning_state.actors.errors import InvalidStateError

FOREIGN = "foreign_token"
"""The reason in the error for a token of another service."""

_VERSION = 1
_BAD = "this token was not made by token(): pass it on unchanged"


class Moment(NamedTuple):
    """A point in a slot's history that an answer reflects: everything up to this revision."""

    slot: int
    epoch: int
    revision: int


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What the string says."""

    version: int
    service_id: str
    slots: dict[int, tuple[int, int]]
    """Slot → (epoch, revision)."""
    widths: dict[int, int] = {}
    """Category id → its number of slots, where known: whoever knows the key needs to pass on but one of the slots."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Token)


class Seen:
    """Slot → the newest (epoch, revision) that one client has read or written."""

    def __init__(self) -> None:
        self._slots: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<Seen slots={len(self._slots)}>"

    def __len__(self) -> int:
        return len(self._slots)

    def note(self, slot: int, epoch: int, revision: int) -> None:
        """An answer reflected this revision."""
        if (epoch, revision) > self._slots.get(slot, (0, 0)):
            self._slots[slot] = epoch, revision

    def note_all(self, slots: Mapping[int, tuple[int, int]]) -> None:
        """What another client had seen, by its token: whoever reads after this one reads after that one."""
        for slot, (epoch, revision) in slots.items():
            self.note(slot, epoch, revision)

    def of(self, slots: Iterable[int]) -> dict[int, tuple[int, int]]:
        """What was seen of these slots."""
        return {slot: self._slots[slot] for slot in slots if slot in self._slots}

    def token(self, service_id: str) -> str:
        """All of it as an opaque string."""
        return write_token(service_id, self._slots)


def write_token(service_id: str, slots: Mapping[int, tuple[int, int]], widths: Mapping[int, int] | None = None) -> str:
    """The string that says this."""
    return urlsafe_b64encode(_encoder.encode(Token(_VERSION, service_id, dict(slots), dict(widths or {})))).decode()


def token_of(moments: Iterable[Moment], service_id: str, widths: Mapping[int, int]) -> str:
    """A token for an answer that reflects these moments and no others."""
    slots: dict[int, tuple[int, int]] = {}
    for slot, epoch, revision in moments:
        slots[slot] = max((epoch, revision), slots.get(slot, (0, 0)))
    return write_token(service_id, slots, widths)


@lru_cache(maxsize=256)
def read_token(token: str) -> Token:
    """What a token says. Raises InvalidStateError for what is none."""
    try:
        read = _decoder.decode(urlsafe_b64decode(token.encode()))
    except (msgspec.DecodeError, msgspec.ValidationError, Base64Error, UnicodeError, ValueError) as error:
        raise InvalidStateError(_BAD) from error
    if read.version != _VERSION:
        raise InvalidStateError(f"{_BAD} (it has version {read.version}, this program knows {_VERSION})")
    return read


def slots_of_token(token: str, service_id: str) -> Mapping[int, tuple[int, int]]:
    """Slot → (epoch, revision) that a read must reflect. Raises InvalidStateError for another service's token."""
    read = read_token(token)
    if read.service_id != service_id:
        raise InvalidStateError(
            "this token was made by a client of another service: revisions are never compared", reason=FOREIGN
        )
    return read.slots
