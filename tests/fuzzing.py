"""A fuzzer over the OpenAPI document: the server, what is asked of it, and what is checked of each answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS
from tests.http_service import AUTHORIZED, served

STORED = [f"stored-{number}" for number in range(5)]

FUZZING = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@contextmanager
def fuzzed() -> Generator[Any]:
    """What its own document says of a server with some states."""
    with served() as address:
        with httpx.Client(base_url=address, headers=AUTHORIZED) as http:
            for key in STORED:
                for category, state in (
                    ("agents", {"agentId": key, "agentType": "x", "status": "Ready"}),
                    ("research", {"researchId": key, "query": "?", "status": "InProgress"}),
                    ("verifications", {"verificationId": key, "sourceId": "s", "content": "c"}),
                ):
                    http.put(f"/v1/{category}/{key}", json=state, params={"expectedVersion": "any"})
        yield schemathesis.openapi.from_url(f"{address}/openapi.json", headers=AUTHORIZED)


def headers_of(case: Any) -> dict[str, str]:
    """A fuzzer invents a token too, and deadlines nobody can keep (504): what they do is for other tests to show."""
    return {
        **{name: value for name, value in (case.headers or {}).items() if name.lower() != "request-timeout"},
        "Authorization": AUTHORIZED["authorization"],
    }


def operations_of(api: Any) -> list[Any]:
    return [found.ok() for found in api.get_all_operations()]


def checks_of_an_answer() -> list[Any]:
    """All that concern one answer; a state that is not there, or stale, is no breach of the document."""
    names = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
    return CHECKS.get_by_names(names)
