"""The document's schemas: states as they are sent and as they are answered, bodies, problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lightning_state.actors.category import Category
from lightning_state.actors.errors import BY_CODE
from lightning_state.actors.limits import Limits
from lightning_state.serve import bodies

Schema = dict[str, Any]

_FIRST = "[A-Za-z0-9_:@+-]+"
_BETWEEN = r"(?:\.(?:/\.)*/?|/(?:\./)*\.?)"
_KEY = f"{_FIRST}(?:{_BETWEEN}{_FIRST})*{_BETWEEN}?"
KEY_PATTERN = f"^{_KEY}$"
"""The key grammar, exactly: not starting with / or ., without // or .. ."""

_TEMPLATE = "#/components/schemas/{model}"

BODIES: tuple[type[BaseModel], ...] = (
    bodies.StatusBody,
    bodies.ProgressBody,
    bodies.ResolveBody,
    bodies.RecallBody,
    bodies.Resolved,
    bodies.BatchGetBody,
    bodies.VerifyBody,
    bodies.CandidateBody,
    bodies.VerifyFactsBody,
    bodies.ValidateReasoningBody,
    bodies.CheckConsistencyBody,
)


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": _TEMPLATE.format(model=name)}


def sent(category: Category[Any]) -> str:
    """The name of the schema of a state as callers send it."""
    return f"{category.model.__name__}Input"


def answered(category: Category[Any]) -> str:
    """The name of the schema of a state as it is answered."""
    return category.model.__name__


def key_schema(limits: Limits) -> Schema:
    """What a key is."""
    return {"type": "string", "pattern": KEY_PATTERN, "minLength": 1, "maxLength": limits.key_bytes}


def prefix_schema(limits: Limits) -> Schema:
    """What a key may begin with: nothing, or a key that leaves room for one character more."""
    return {"type": "string", "pattern": f"^(?:{_KEY})?$", "maxLength": limits.key_bytes - 1}


def schemas(categories: Sequence[Category[Any]], limits: Limits) -> dict[str, Schema]:
    """Every schema of the document by its name."""
    found: dict[str, Schema] = {"Problem": _problem(), "Verdict": _verdict(), "Issue": _issue(), **_reports()}
    _, shared = models_json_schema([(body, "validation") for body in BODIES], ref_template=_TEMPLATE)
    found.update(shared.get("$defs", {}))
    found["ProgressBody"]["minProperties"] = 1
    found["ProgressBody"]["properties"] = {
        "iterationCount": {"type": "integer", "minimum": 0},
        "qualityScore": {"type": "number", "minimum": 0, "maximum": 1},
    }
    found["BatchGetBody"]["properties"]["ids"].update(maxItems=limits.batch_keys, items=key_schema(limits))
    for category in categories:
        found.update(_of_category(category, limits))
    return found


def _of_category(category: Category[Any], limits: Limits) -> dict[str, Schema]:
    key = category.alias(category.key_field)
    incoming = _definitions(category, "validation", "Input")
    outgoing = _definitions(category, "serialization", "")
    state = incoming[sent(category)]
    state["properties"][key] = {**state["properties"][key], **key_schema(limits)}
    state["properties"]["version"]["description"] = "Ignored for one state; in a batch, the version it must still have."
    state["properties"]["lastUpdated"]["description"] = "Ignored: the service sets it."
    stored = outgoing[answered(category)]
    stored["properties"]["version"] = {"type": "integer", "minimum": 1}
    stored["properties"]["lastUpdated"] = {"type": "string", "format": "date-time"}
    stored["required"] = sorted({*stored.get("required", []), "version", "lastUpdated"})
    return {**incoming, **outgoing, **_groups(category, limits)}


def _definitions(category: Category[Any], mode: Any, suffix: str) -> dict[str, Schema]:
    """The model's schema and those it refers to, under names of their own for each direction."""
    template = f"#/components/schemas/{{model}}{suffix}"
    schema = category.model.model_json_schema(mode=mode, by_alias=True, ref_template=template)
    parts = {f"{name}{suffix}": part for name, part in schema.pop("$defs", {}).items()}
    return {**parts, f"{category.model.__name__}{suffix}": schema}


def _groups(category: Category[Any], limits: Limits) -> dict[str, Schema]:
    """A page, and what goes into a batch and comes out of it."""
    name = answered(category)
    state, problem = ref(name), ref("Problem")
    stored = _object({"status": {"const": 200}, "state": state})
    refused = _object({"status": {"type": "integer", "minimum": 400}, "problem": problem})
    cursor = {"type": ["string", "null"], "description": "Continues the list; null: this was the last page."}
    states = {"type": "array", "items": ref(sent(category)), "maxItems": limits.batch_keys}
    batch = _object({"states": states, "expectedVersion": {"enum": ["any", None]}})
    batch["required"] = ["states"]
    return {
        f"{name}Page": _object({"items": {"type": "array", "items": state}, "cursor": cursor}),
        f"{name}Batch": batch,
        f"{name}Found": _object({"items": {"type": "object", "additionalProperties": state}}),
        f"{name}Results": _object(
            {"results": {"type": "object", "additionalProperties": {"oneOf": [stored, refused]}}}
        ),
    }


def _object(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _problem() -> Schema:
    schema = _object(
        {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "description": f"Stable. The service's own: {', '.join(sorted(BY_CODE))}."},
            "retryable": {"type": "boolean", "description": "Repeating the same request is safe and may succeed."},
        }
    )
    schema["description"] = "RFC 9457. Further members are the error's details."
    schema["additionalProperties"] = True
    return schema


def _issue() -> Schema:
    text, number = {"type": "string"}, {"type": "number"}
    return _object(
        {
            "code": text,
            "path": text,
            "message": text,
            "severity": {"enum": ["error", "warning"]},
            "weight": number,
            "transient": {"type": "boolean"},
        }
    )


def _verdict() -> Schema:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return _object(
        {
            "isValid": {"type": "boolean"},
            "confidence": share,
            "issues": {"type": "array", "items": ref("Issue")},
            "ruleSet": {"type": "string"},
            "baseVersion": {"type": "integer", "minimum": 0},
            "contentHash": {"type": "string", "pattern": "^[0-9a-f]*$"},
            "threshold": share,
        }
    )


def _reports() -> dict[str, Schema]:
    text, yes = {"type": "string"}, {"type": "boolean"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    status = {"enum": ["Pending", "Verified", "Disputed", "Failed"]}
    finding = _object({"id": text, "status": status, "confidence": share, "passage": text, "reason": text})
    pair = _object({"kind": text, "first": text, "second": text, "reason": text})
    issues = {"type": "array", "items": ref("Issue")}
    return {
        "FactReport": _object({"findings": {"type": "array", "items": finding}, "confidence": share}),
        "ReasoningReport": _object({"isValid": yes, "confidence": share, "issues": issues}),
        "ConsistencyReport": _object({"isConsistent": yes, "contradictions": {"type": "array", "items": pair}}),
    }
