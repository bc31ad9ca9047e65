"""Values as HTML tables, for the `_repr_html_` of notebooks.

Everything is escaped: a state may hold anything. No colour is named, so light and dark themes both read well, and the
style is in the cells themselves: notebooks drop style sheets that they do not trust.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from html import escape
from typing import Any

MOST_ROWS = 50
"""Of one table: a notebook keeps what it shows."""
MOST_CHARACTERS = 1_000
"""Of one text."""
MOST_FLAT_CHARACTERS = 200
"""The same in a flat table."""

_MOST_NESTED = 3
_PLAIN_BELOW = 1_000

_TABLE = '<table class="tex2jax_ignore mathjax_ignore" style="margin:0">'
# The classes keep notebooks from setting "$5 or $6" as a formula.
_HEAD = '<th style="text-align:left;vertical-align:top;white-space:nowrap">'
_TEXT = '<td style="text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:break-word;max-width:60ch">'
_NESTED = '<td style="text-align:left;vertical-align:top">'
_CAPTION = '<caption style="caption-side:top;text-align:left">'
_LINE = "<br>"


def record_table(record: object, caption: str = "") -> str:
    """One thing (a mapping, pydantic model or msgspec struct): a row for each field, tables within for nested ones."""
    return _record_table(_fields_of(record) or {}, caption, 0)


def flat_table(records: Sequence[object], caption: str = "") -> str:
    """Many things alike, one a row, nested values as short text. Fields that are empty in all of them are left out."""
    return _rows_table([_fields_of(record) or {} for record in records], caption, _MOST_NESTED)


def _record_table(fields: Mapping[str, object], caption: str, nested: int) -> str:
    rows = [
        f"<tr>{_HEAD}{_text(name, nested)}</th>{_cell(value, nested)}</tr>"
        for name, value in list(fields.items())[:MOST_ROWS]
    ]
    return _table(rows, caption, len(fields))


def _rows_table(records: Sequence[Mapping[str, object]], caption: str, nested: int) -> str:
    shown = records[:MOST_ROWS]
    names = list(dict.fromkeys(name for record in shown for name, value in record.items() if not _is_empty(value)))
    head = "".join(f"{_HEAD}{_text(name, nested)}</th>" for name in names)
    rows = ["<tr>" + "".join(_cell(record.get(name), nested) for name in names) + "</tr>" for record in shown]
    return _table([f"<tr>{head}</tr>", *rows] if names else [], caption, len(records))


def _cell(value: object, nested: int) -> str:
    inside = _value(value, nested)
    return f"{_NESTED if inside.startswith(_TABLE) else _TEXT}{inside}</td>"


def _value(value: object, nested: int) -> str:
    """What stands in a cell: escaped text, or a table of its own."""
    if _is_scalar(value):
        return _text(_scalar(value), nested)
    if _is_empty(value):
        return ""
    is_deep = nested >= _MOST_NESTED
    if isinstance(value, (list, tuple)):
        items: Sequence[Any] = value
        if all(map(_is_scalar, items)):
            separator = ", " if is_deep else _LINE
            return separator.join([_text(_scalar(item), nested) for item in items[:MOST_ROWS]] + _more(len(items)))
        records = [fields for item in items if (fields := _fields_of(item)) is not None]
        if len(records) == len(items) and not is_deep:
            return _rows_table(records, "", nested + 1)
    elif not is_deep and (fields := _fields_of(value)) is not None:
        return _record_table(fields, "", nested + 1)
    return _text(repr(value), nested)


def _text(value: str, nested: int) -> str:
    """Escaped, and cut when it is long."""
    most = MOST_CHARACTERS if nested < _MOST_NESTED else MOST_FLAT_CHARACTERS
    more = f" … {len(value) - most:,} more characters" if len(value) > most else ""
    # Half a surrogate pair is not valid in any document.
    return escape(value[:most].encode("utf-8", "backslashreplace").decode()) + more


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bytes, Enum, datetime))


def _scalar(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} {value.tzname() or ''}".rstrip()
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < _PLAIN_BELOW else f"{value:,.0f}"
    return value.hex() if isinstance(value, bytes) else str(value)


def _fields_of(value: object) -> Mapping[str, object] | None:
    """The fields of a mapping, struct or model; None of everything else.

    Of a model, those that its class adds come before the ones it inherits: a state's id before its version.
    """
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    kind: Any = type(value)
    if (names := getattr(kind, "__struct_fields__", None)) is not None:
        return {name: getattr(value, name) for name in names}
    if (names := getattr(kind, "model_fields", None)) is not None:
        inherited = getattr(kind.__mro__[1], "model_fields", ())
        return {name: getattr(value, name) for name in sorted(names, key=lambda name: name in inherited)}
    return None


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, Mapping, list, tuple)) and not value)


def _table(rows: Iterable[str], caption: str, of: int) -> str:
    head = f"{_CAPTION}{_text(caption, 0)}</caption>" if caption else ""
    return f"{_TABLE}{head}{''.join(rows)}</table>{''.join(_more(of))}"


def _more(of: int) -> list[str]:
    return [f"… and {of - MOST_ROWS:,} more"] if of > MOST_ROWS else []
