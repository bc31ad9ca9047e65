"""Rows for store tests."""

from __future__ import annotations

from lightning_state.actors.core.rows import JournalRow, Op

SLOT = 1 << 16
OTHER_SLOT = SLOT + 1
OTHER_CATEGORY_SLOT = 2 << 16


def row(
    key: str,
    version: int,
    *,
    slot: int = SLOT,
    revision: int = 0,
    epoch: int = 1,
    op: Op = Op.SET,
    body: bytes | None = b"{}",
    indexes: dict[str, str] | None = None,
    request_id: str = "",
) -> JournalRow:
    """A journal row; a delete or a bar gets no body."""
    return JournalRow(
        slot=slot,
        revision=revision or version,
        epoch=epoch,
        key=key,
        version=version,
        op=op,
        body=None if op in (Op.DELETE, Op.BAR) else body,
        schema_version=3,
        indexes=indexes or {},
        principal="alice",
        request_id=request_id or f"request-{slot}-{key}-{version}",
        digest=b"digest",
        time_us=1_700_000_000_000_000 + version,
    )
