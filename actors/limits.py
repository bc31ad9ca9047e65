"""The bounds of what the service accepts and holds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Bounds checked at the edge, before anything is buffered. Each has its own error code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state_bytes: int = Field(default=1024 * 1024, gt=0)
    key_bytes: int = Field(default=256, gt=0, le=1024)
    depth: int = Field(default=32, gt=0, le=100)
    batch_keys: int = Field(default=1_000, gt=0)
    transaction_keys: int = Field(default=128, gt=0)
    frame_bytes: int = Field(default=16 * 1024 * 1024, gt=0)
    key_queue: int = Field(default=256, gt=0)
    """Writes of one key that may wait behind each other; the next is refused as overloaded."""
    shard_queue: int = Field(default=16_384, gt=0)
    """Writes in one shard between arrival and reply; the next is refused as overloaded."""
    hot_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """Memory of one shard's hot states; colder ones are loaded from the store when asked for."""


class CacheSettings(BaseModel):
    """The cache in every client's process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    size_bytes: int = Field(default=500_000_000, ge=0)
    """About what a client's cached states may take in its memory; least recently used ones go first."""
    ttl_s: float = Field(default=300.0, gt=0)
    """A state is asked for again after this time, changed or not."""
    tracked_keys: int = Field(default=65_536, ge=1)
    """Keys a shard watches for one client; one more empties what the client cached from that shard."""
