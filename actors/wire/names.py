"""Names of a service's detached Ray actors: how anyone on the cluster finds them."""

from __future__ import annotations

NAMESPACE = "lightning-state"
"""The Ray namespace of every service; service names keep them apart."""


def directory_name(service: str) -> str:
    """The directory actor."""
    return f"lightning-state/{service}/directory"


def shard_name(service: str, number: int) -> str:
    """Shard actor number `number`."""
    return f"lightning-state/{service}/shard/{number}"


def pool_name(service: str) -> str:
    """The supervisor of the VERL pool."""
    return f"lightning-state/{service}/verl"


def validator_name(service: str, number: int) -> str:
    """Validator actor number `number`."""
    return f"lightning-state/{service}/verl/{number}"
