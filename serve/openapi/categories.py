"""The operations on one category, with its own schemas."""

from __future__ import annotations

from enum import Enum
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.limits import Limits
from lightning_state.serve.openapi.examples import key_example, state_example, stored_example
from lightning_state.serve.openapi.parts import (
    CONDITIONAL,
    CONDITIONS,
    FRESHNESS_HEADER,
    WITH_BODY,
    answer,
    parameter_refs,
    problem_refs,
    request_body,
)
from lightning_state.serve.openapi.schemas import Schema, answered, key_schema, ref, sent

_WRITING = ("IdempotencyKey", "RequestTimeout")


class CategoryPaths:
    """The paths of one category."""

    def __init__(self, category: Category[Any], limits: Limits) -> None:
        self._category = category
        self._key = category.alias(category.key_field)
        self._base = f"/v1/{category.name}"
        self._one = f"{self._base}/{{{self._key}}}"
        self._in_path = {
            "name": self._key,
            "in": "path",
            "required": True,
            "schema": key_schema(limits),
            "example": key_example(category),
        }
        self._name = answered(category)
        self._stored = answer("The state as stored.", ref(self._name), stored_example(category), etag=True)

    def paths(self) -> dict[str, Schema]:
        """Every path with its operations."""
        found = {
            self._one: {
                "parameters": [self._in_path],
                "get": self._read(),
                "put": self._write(),
                "patch": self._patch(),
                "delete": self._delete(),
            },
            f"{self._one}/~resolve": {"parameters": [self._in_path], "post": self._resolve()},
            self._base: {"get": self._list()},
            f"{self._base}:batchGet": {"post": self._batch_get()},
            f"{self._base}:batchSet": {"post": self._batch_set()},
        }
        if self._category.status_field is not None:
            found[f"{self._one}/~status"] = {"parameters": [self._in_path], "post": self._status()}
        if self._category.name == "research":
            found[f"{self._one}/~progress"] = {"parameters": [self._in_path], "post": self._progress()}
        return found

    def _read(self) -> Schema:
        operation = self._operation(
            "get", "Read a state.", ("Consistency", "AtLeast", "IfNoneMatchRead", "RequestTimeout")
        )
        unchanged = {"description": "The caller has this version.", "headers": self._stored["headers"]}
        operation["responses"] = {"200": self._stored, "304": unchanged, **problem_refs(422)}
        return operation

    def _write(self) -> Schema:
        operation = self._operation("set", "Store a state, under a condition.", (*CONDITIONS, *_WRITING))
        operation["requestBody"] = request_body(ref(sent(self._category)), state_example(self._category))
        location = {"required": True, "schema": {"type": "string"}}
        created = {**self._stored, "headers": {**self._stored["headers"], "Location": location}}
        operation["responses"] = {
            "200": self._stored,
            "201": {**created, "description": "It is new."},
            **problem_refs(*WITH_BODY, *CONDITIONAL, 428),
        }
        return operation

    def _patch(self) -> Schema:
        operation = self._operation("patch", "Apply a JSON merge patch (RFC 7396).", (*CONDITIONS, *_WRITING))
        changeable = self._changeable()
        operation["requestBody"] = request_body(changeable, {}, "application/merge-patch+json")
        operation["responses"] = {"200": self._stored, **problem_refs(*WITH_BODY, *CONDITIONAL, 428)}
        return operation

    def _changeable(self) -> Schema:
        """A merge patch: any of the state's fields; null removes one."""
        return {"type": "object", "description": "Fields to change; null removes one."}

    def _delete(self) -> Schema:
        operation = self._operation("delete", "Delete a state, under a condition.", (*CONDITIONS, *_WRITING))
        gone = {"description": "It is deleted.", "headers": FRESHNESS_HEADER}
        operation["responses"] = {"204": gone, **problem_refs(*WITH_BODY, *CONDITIONAL, 428)}
        return operation

    def _status(self) -> Schema:
        name = self._category.status_field or ""
        kind = self._category.model.model_fields[name].annotation
        values = [each.value for each in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
        status: Schema = {"enum": values} if values else {"type": "string", "minLength": 1}
        body: Schema = {
            "type": "object",
            "properties": {"status": status},
            "required": ["status"],
            "additionalProperties": False,
        }
        operation = self._operation("updateStatus", "Change the status.", ("IfMatch", *_WRITING))
        operation["requestBody"] = request_body(body, {"status": values[0] if values else "Ready"})
        operation["responses"] = {"200": self._stored, **problem_refs(*WITH_BODY, *CONDITIONAL)}
        return operation

    def _progress(self) -> Schema:
        operation = self._operation("updateProgress", "Record progress.", ("IfMatch", *_WRITING))
        operation["requestBody"] = request_body(ref("ProgressBody"), {"iterationCount": 3, "qualityScore": 0.85})
        operation["responses"] = {"200": self._stored, **problem_refs(*WITH_BODY, *CONDITIONAL)}
        return operation

    def _resolve(self) -> Schema:
        operation = self._operation("resolve", "Learn what became of a write.", ("RequestTimeout",))
        operation["requestBody"] = request_body(ref("ResolveBody"), {"requestId": "0190a1b2-write-1"})
        resolved = answer("Its fate, for good.", ref("Resolved"), {"applied": False, "version": 0})
        operation["responses"] = {"200": resolved, **problem_refs(*WITH_BODY, *CONDITIONAL)}
        return operation

    def _list(self) -> Schema:
        operation = self._operation(
            "list", "List states in key order.", ("Prefix", "Limit", "Cursor", "AtLeast", "RequestTimeout")
        )
        operation["parameters"] += [self._filter(attribute) for attribute in self._category.indexes]
        example = {"items": [found] if (found := stored_example(self._category)) else [], "cursor": None}
        page = answer("A page.", ref(f"{self._name}Page"), example, fresh=True)
        operation["responses"] = {"200": page, **problem_refs(422)}
        return operation

    def _filter(self, attribute: str) -> Schema:
        kind = self._category.model.model_fields[attribute].annotation
        values = [each.value for each in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
        return {
            "name": self._category.alias(attribute),
            "in": "query",
            "description": "One filter at a time.",
            "schema": {"enum": values} if values else {"type": "string"},
        }

    def _batch_get(self) -> Schema:
        operation = self._operation("batchGet", "Read many states.", ("AtLeast", "RequestTimeout"))
        key, state = key_example(self._category), stored_example(self._category)
        operation["requestBody"] = request_body(ref("BatchGetBody"), {"ids": [key]})
        example = {"items": {key: state} if state else {}}
        found = answer("Those that exist.", ref(f"{self._name}Found"), example, fresh=True)
        operation["responses"] = {"200": found, **problem_refs(*WITH_BODY)}
        return operation

    def _batch_set(self) -> Schema:
        operation = self._operation("batchSet", "Store many states, each on its own.", _WRITING)
        key, state = key_example(self._category), state_example(self._category)
        example = {"states": [state] if state else [], "expectedVersion": "any"}
        operation["requestBody"] = request_body(ref(f"{self._name}Batch"), example)
        results = {key: {"status": 200, "state": stored_example(self._category)}} if state else {}
        shown = answer("What became of each.", ref(f"{self._name}Results"), {"results": results}, fresh=True)
        operation["responses"] = {"200": shown, **problem_refs(*WITH_BODY, *CONDITIONAL)}
        return operation

    def _operation(self, verb: str, summary: str, parameters: tuple[str, ...]) -> Schema:
        return {
            "operationId": f"{self._category.name}.{verb}",
            "tags": [self._category.name],
            "summary": summary,
            "parameters": parameter_refs(parameters),
        }
