"""The few fields of a body that decisions are made by, read without parsing the rest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.errors import InvalidStateError

_READERS = 256

_Field = str | int | float | bool | None


class FieldReader:
    """Reads the key, the status and the indexed fields of one category's bodies."""

    def __init__(self, category: Category[Any]) -> None:
        self._name = category.name
        read = {category.key_field, *category.indexes, *filter(None, [category.status_field])}
        fields: list[Any] = [(name, _Field, msgspec.field(name=category.alias(name))) for name in sorted(read)]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Fields", fields)).decode

    def __repr__(self) -> str:
        return f"<FieldReader {self._name}>"

    def read(self, body: bytes) -> Any:
        """Those fields as attributes. Raises InvalidStateError for other JSON."""
        try:
            return self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidStateError(f"{self._name}: {error}") from error


@lru_cache(_READERS)
def field_reader(category: Category[Any]) -> FieldReader:
    """The reader of a category, made once."""
    return FieldReader(category)
