"""What one HTTP client has read and written, so that whichever replica answers, it reads nothing older."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from lightning_state.actors.core.freshness import FOREIGN, Seen, read_token, write_token
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.errors import InvalidStateError


class HttpSeen:
    """Slots of one service, from the tokens of its answers. Thread-safe; at most the service's slots are kept."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._service_id = ""
        self._seen = Seen()
        self._widths: dict[int, int] = {}
        self._ids: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<HttpSeen of {self._service_id or 'nothing yet'} {self._seen!r}>"

    @property
    def is_empty(self) -> bool:
        """Whether no answer has told yet which service this is."""
        return not self._service_id

    def answered(self, token: str, category: str | None) -> None:
        """An answer came with this token, from operations on this category. Another service begins anew."""
        read = read_token(token)
        with self._lock:
            if read.service_id != self._service_id:
                self._forget()
                self._service_id = read.service_id
            self._seen.note_all(read.slots)
            self._widths.update(read.widths)
            if category is not None and len(read.widths) == 1:
                self._ids[category] = next(iter(read.widths))

    def given(self, token: str) -> None:
        """What another client saw precedes what this one does. Raises InvalidStateError for a token it cannot use."""
        read = read_token(token)
        with self._lock:
            if self._service_id and read.service_id != self._service_id:
                raise InvalidStateError("this token was made by a client of another service", reason=FOREIGN)
            self._service_id = read.service_id
            self._seen.note_all(read.slots)
            self._widths.update(read.widths)

    def forget(self) -> None:
        """The server does not know these tokens: it serves another service now."""
        with self._lock:
            self._forget()

    def token(self) -> str:
        """All of it."""
        with self._lock:
            return self._seen.token(self._service_id)

    def of_keys(self, category: str, keys: Iterable[str]) -> str | None:
        """As much of it as concerns these keys, which is one slot for each; None: nothing does."""
        with self._lock:
            category_id = self._ids.get(category)
            width = self._widths.get(-1 if category_id is None else category_id)
            if category_id is None or width is None:  # no answer of this category yet, but perhaps a given token
                return self._seen.token(self._service_id) if self._seen else None
            slots = self._seen.of({slot_of(category_id, key, width) for key in keys})
            return write_token(self._service_id, slots) if slots else None

    def _forget(self) -> None:
        self._service_id = ""
        self._seen = Seen()
        self._widths.clear()
        self._ids.clear()
