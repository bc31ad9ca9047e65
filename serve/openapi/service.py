"""The operations that belong to no category: VERL's calls, health, figures."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.category import AGENTS
from lightning_state.serve.openapi.examples import VERDICT, state_example
from lightning_state.serve.openapi.parts import (
    FRESHNESS_HEADER,
    WITH_BODY,
    answer,
    parameter_refs,
    problem_refs,
    request_body,
)
from lightning_state.serve.openapi.schemas import Schema, ref

_ISSUE_FREE = {"isValid": True, "confidence": 1.0, "issues": []}
_SKY = ["The sky is blue.", "The sky is not blue."]


def service_paths() -> dict[str, Schema]:
    """Every such path with its operations."""
    state = state_example(AGENTS)
    return {
        "/v1/verl/verify": _verl(
            "verify",
            "What VERL would say of a state if it were written now.",
            ("VerifyBody", {"category": "agents", "id": "agent-1", "state": state}),
            ("Verdict", VERDICT),
        ),
        "/v1/verl/evaluateConfidence": _verl(
            "evaluateConfidence",
            "What VERL makes of a state by itself.",
            ("CandidateBody", {"category": "agents", "state": state}),
            ("Verdict", VERDICT),
        ),
        "/v1/verl/verifyFacts": _verl(
            "verifyFacts",
            "Whether texts support facts.",
            ("VerifyFactsBody", {"facts": [{"id": "1", "content": _SKY[0], "sourceText": _SKY[0]}]}),
            ("FactReport", {"findings": [], "confidence": 1.0}),
        ),
        "/v1/verl/validateReasoning": _verl(
            "validateReasoning",
            "Whether an argument holds together.",
            ("ValidateReasoningBody", {"steps": [_SKY[0], "So it is day."]}),
            ("ReasoningReport", _ISSUE_FREE),
        ),
        "/v1/verl/checkConsistency": _verl(
            "checkConsistency",
            "The contradictions among statements and research states.",
            ("CheckConsistencyBody", {"statements": _SKY}),
            ("ConsistencyReport", {"isConsistent": True, "contradictions": []}),
        ),
        "/v1/cache:invalidate": _forget(
            "invalidate",
            "Have every cache of the service forget a state.",
            ("InvalidateBody", {"category": "agents", "id": "agent-1"}),
        ),
        "/v1/cache:invalidateCategory": _forget(
            "invalidateCategory",
            "Have every cache of the service forget a category.",
            ("InvalidateCategoryBody", {"category": "agents"}),
        ),
        "/": _read("index", "Where everything is.", {"service": "default", "categories": ["agents"], "links": {}}),
        "/v1/metrics": _read(
            "metrics", "What this replica counted.", {"replica": "r", "pid": 1, "requests": {}, "client": {}}
        ),
        "/openapi.json": _read("openapi", "This document.", {"openapi": "3.1.0"}),
        "/healthz": _probe("healthz", "Whether the server lives.", "live"),
        "/readyz": _ready(),
        "/metrics": {
            "get": {
                "operationId": "prometheus",
                "tags": ["service"],
                "summary": "What this replica counted, for Prometheus.",
                "responses": {
                    "200": {
                        "description": "Text format.",
                        "content": {"text/plain": {"schema": {"type": "string"}, "example": "# HELP …"}},
                    },
                    **problem_refs(),
                },
            }
        },
    }


def _verl(name: str, summary: str, body: tuple[str, Any], found: tuple[str, Any]) -> Schema:
    return {
        "post": {
            "operationId": f"verl.{name}",
            "tags": ["verl"],
            "summary": summary,
            "parameters": parameter_refs(["RequestTimeout"]),
            "requestBody": request_body(ref(body[0]), body[1]),
            "responses": {"200": answer("VERL's answer.", ref(found[0]), found[1]), **problem_refs(*WITH_BODY, 409)},
        }
    }


def _forget(name: str, summary: str, body: tuple[str, Any]) -> Schema:
    """Nobody needs them for correctness: changes reach the caches by themselves."""
    gone = {
        "description": "Every cache that holds it has been told; reads with this answer's token are as new as this.",
        "headers": FRESHNESS_HEADER,
    }
    return {
        "post": {
            "operationId": f"cache.{name}",
            "tags": ["cache"],
            "summary": summary,
            "parameters": parameter_refs(["RequestTimeout"]),
            "requestBody": request_body(ref(body[0]), body[1]),
            "responses": {"204": gone, **problem_refs(*WITH_BODY)},
        }
    }


def _read(name: str, summary: str, example: Schema) -> Schema:
    shown = answer("JSON.", {"type": "object", "required": list(example)}, example)
    return {
        "get": {
            "operationId": name,
            "tags": ["service"],
            "summary": summary,
            "responses": {"200": shown, **problem_refs()},
        }
    }


def _probe(name: str, summary: str, status: str) -> Schema:
    schema = {"type": "object", "properties": {"status": {"const": status}}, "required": ["status"]}
    return {
        "get": {
            "operationId": name,
            "tags": ["service"],
            "summary": summary,
            "security": [],
            "responses": {"200": answer("It does.", schema, {"status": status}), **problem_refs()},
        }
    }


def _ready() -> Schema:
    found = _probe("readyz", "Whether every shard answers.", "ready")
    schema = {"type": "object", "properties": {"status": {"const": "not ready"}, "code": {"type": "string"}}}
    found["get"]["responses"]["503"] = answer("Not now.", schema, {"status": "not ready", "code": "deadline_exceeded"})
    return found
