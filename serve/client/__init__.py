"""Clients of a service over HTTP, with the interface of those that reach its actors."""

from lightning_state.serve.client._async.client import AsyncHttpStateClient
from lightning_state.serve.client._sync.client import HttpStateClient

__all__ = ["AsyncHttpStateClient", "HttpStateClient"]
