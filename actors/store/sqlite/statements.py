"""The SQL of the package, kept in `sql/*.sql`: queries named and described, migrations numbered."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


def _folder() -> Traversable:
    return files(__package__ or "") / "sql"


@cache
def queries(group: str) -> dict[str, str]:
    """The queries of `sql/<group>.sql` by name, without their descriptions."""
    text = (_folder() / f"{group}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: _COMMENT.sub("", sql).strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations(kind: str) -> list[str]:
    """The scripts of `sql/<kind>/NNNN_name.sql` in order; the nth makes schema version n."""
    found = sorted(
        (entry for entry in (_folder() / kind).iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return [entry.read_text(encoding="utf-8") for entry in found]
