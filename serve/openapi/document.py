"""The whole document."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.limits import Limits
from lightning_state.serve.openapi.categories import CategoryPaths
from lightning_state.serve.openapi.parts import parameters, responses
from lightning_state.serve.openapi.schemas import schemas
from lightning_state.serve.openapi.service import service_paths

_ABOUT = """Durable, versioned, validated state for agent applications.

A state's strong ETag is its version. Changes need `If-Match`, `If-None-Match: *` (must not exist yet) or
`?expectedVersion=any` (the last writer wins). A write repeated under the same `Idempotency-Key` returns the first
result and changes nothing. Errors are problem documents (RFC 9457) with a stable `code`. Send keys percent-encoded."""


def openapi_document(categories: Sequence[Category[Any]], limits: Limits) -> dict[str, Any]:
    """OpenAPI 3.1 for a service with these categories and limits."""
    paths: dict[str, Any] = {}
    for category in categories:
        paths.update(CategoryPaths(category, limits).paths())
    paths.update(service_paths())
    return {
        "openapi": "3.1.0",
        "info": {"title": "lightning-state", "version": version("lightning-state"), "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas(categories, limits),
            "parameters": parameters(limits),
            "responses": responses(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }
