"""A category of state: model, key, transition table, indexes, rules. The built-in three are ordinary registrations."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from lightning_state.actors.errors import CategoryMismatchError, InvalidStateError, UnknownCategoryError
from lightning_state.actors.models import (
    SERVICE_FIELDS,
    AgentState,
    ResearchState,
    State,
    VerificationState,
    invalid_state,
)
from lightning_state.actors.models.state import stamped

_NAME = re.compile(r"[a-z0-9-]{1,64}")

RESERVED_NAMES = frozenset({"audit", "cache", "locks", "metrics", "snapshots", "transactions", "ui", "verl", "watch"})
"""First segments of other HTTP routes: no category may have such a name."""

S = TypeVar("S", bound=State)
Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the JSON object of schema version n into that of n + 1."""


_NOT_STORED = set(SERVICE_FIELDS)
# A set, because the serializer takes no frozenset.


@dataclass(frozen=True, kw_only=True, eq=False)
class Category(Generic[S]):
    """One category of state. Define it once, at the top level of an importable module: services find it by name.

    Nothing is pickled or stored but its import path and `hash`; two different definitions under one name are refused.
    """

    name: str
    """Names the category in keys, routes and metrics: a-z, 0-9 and -, 1 to 64 characters."""
    model: type[S]
    key_field: str
    """The model's attribute that holds the id; it must equal the key a state is stored under."""
    status_field: str | None = None
    transitions: Mapping[str, frozenset[str]] | None = None
    """Status → statuses that may follow. Keeping a non-terminal status is always allowed; no successors = terminal."""
    indexes: tuple[str, ...] = ()
    """Attributes (strings) that `list` can filter by."""
    monotonic: tuple[str, ...] = ()
    """Numeric attributes that never decrease from one version to the next."""
    references: Mapping[str, str] = field(default_factory=dict[str, str])
    """Attribute → category in which the id it holds must exist; checked when the service's `check_references` is on."""
    rules: tuple[str, ...] = ()
    """Import paths (`package.module:name`) of further pure rules: VerdictContext → findings. Fast; no timeout."""
    validators: tuple[str, ...] = ()
    """Import paths (`package.module:name`) of the user's own validators, run after the rules; they may wait."""
    confidence_threshold: float | None = None
    """A write with lower confidence is refused; None: the service's setting."""
    schema_version: int = 1
    upcasts: Mapping[int, Upcast] = field(default_factory=dict[int, Upcast])
    """Schema version n → the function that makes n + 1 of it; one for every older version still stored."""

    def __post_init__(self) -> None:
        """Raise InvalidStateError for a definition that could not work."""
        fields = self.model.model_fields
        named = {self.key_field, *self.indexes, *self.monotonic, *self.references, *filter(None, [self.status_field])}
        if unknown := sorted(named - set(fields)):
            raise InvalidStateError(f"category {self.name!r}: {self.model.__name__} has no field {', '.join(unknown)}")
        if _NAME.fullmatch(self.name) is None:
            raise InvalidStateError(f"category name {self.name!r}: use 1 to 64 characters of a-z, 0-9 and -")
        if self.name in RESERVED_NAMES:
            raise InvalidStateError(f"category name {self.name!r} is reserved for an HTTP route: choose another")
        if self.transitions is not None and self.status_field is None:
            raise InvalidStateError(f"category {self.name!r} has transitions but no status_field")
        if missing := [n for n in range(1, self.schema_version) if n not in self.upcasts]:
            raise InvalidStateError(f"category {self.name!r}: no upcast from schema version {missing[0]}")

    def __repr__(self) -> str:
        return f"<Category {self.name} {self.model.__name__} schema={self.schema_version}>"

    def alias(self, attribute: str) -> str:
        """The attribute's name in JSON."""
        return self.model.model_fields[attribute].alias or attribute

    def key(self, state: S) -> str:
        """The id of a state."""
        return getattr(state, self.key_field)

    def is_terminal(self, status: str) -> bool:
        """Whether no status may follow this one."""
        return self.transitions is not None and not self.transitions.get(status)

    def encode(self, state: State) -> bytes:
        """The canonical body: compact JSON with every field but version and lastUpdated.

        Raises InvalidStateError for text that is not valid Unicode.
        """
        try:
            # What a `model_copy` of a user's put into the state is judged when the body is read, by a typed error.
            return self.model.__pydantic_serializer__.to_json(state, by_alias=True, exclude=_NOT_STORED, warnings=False)
        except PydanticSerializationError as error:
            raise InvalidStateError(f"{self.model.__name__} cannot be written as JSON: {error}") from error

    def decode(self, body: bytes, version: int = 0, updated_us: int = 0) -> S:
        """The state in a body, with version and time of its commit. Raises InvalidStateError when it does not fit."""
        try:
            state = self.model.__pydantic_validator__.validate_json(body, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise invalid_state(self.model.__name__, error) from error
        except Exception as error:  # a user's own model code may raise anything; it must not take a shard down
            raise InvalidStateError(f"{self.model.__name__}: its validation code raised {error!r}") from error
        return self.stamp(state, version, updated_us) if version else state

    def stamp(self, state: S, version: int, updated_us: int) -> S:
        """The same state with the version and time (microseconds since 1970, UTC) its commit gave it."""
        return stamped(state, version, datetime.fromtimestamp(updated_us / 1e6, UTC))

    def upcast(self, body: bytes, schema_version: int) -> bytes:
        """A body stored under an older schema version as the current one writes it."""
        if schema_version == self.schema_version:
            return body
        if schema_version > self.schema_version:
            raise CategoryMismatchError(
                f"{self.name} state has schema version {schema_version}, this program knows {self.schema_version}"
            )
        value = json.loads(body)
        try:
            for version in range(schema_version, self.schema_version):
                value = self.upcasts[version](value)
        except Exception as error:  # a user's upcast may raise anything; it must not take a shard down
            raise InvalidStateError(f"{self.name}: upcast from version {schema_version} raised {error!r}") from error
        return self.encode(self.decode(json.dumps(value).encode()))

    @property
    def hash(self) -> str:
        """Hex digest of all that decides how states of this category are stored and checked."""
        definition = {
            "name": self.name,
            "schema": self.model.model_json_schema(),
            "key": self.key_field,
            "status": self.status_field,
            "transitions": {a: sorted(b) for a, b in self.transitions.items()}
            if self.transitions is not None
            else None,
            "indexes": self.indexes,
            "monotonic": self.monotonic,
            "references": dict(self.references),
            "rules": self.rules,
            "validators": self.validators,
            "threshold": self.confidence_threshold,
            "version": self.schema_version,
        }
        return blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=16).hexdigest()

    @property
    def import_path(self) -> str:
        """`package.module:NAME`, where other processes find this definition.

        Raises UnknownCategoryError when it is not at the top level of an importable module.
        """
        # The model's module and this one first: whoever merely imported the name may be unknown to other processes.
        for candidate in (self.model.__module__, __name__, *sorted(sys.modules)):
            module = sys.modules.get(candidate)
            if candidate in {"__main__", "__mp_main__"} or module is None:
                continue
            for name, value in list(vars(module).items()):
                if value is self:
                    return f"{candidate}:{name}"
        raise UnknownCategoryError(
            f"category {self.name!r} must be a top-level name of an importable module (not __main__ or a notebook cell)"
        )


def load_category(import_path: str, expected_hash: str | None = None) -> Category[Any]:
    """Import a category by its path.

    Raises UnknownCategoryError when it cannot be imported and CategoryMismatchError when its definition differs.
    """
    module_name, _, name = import_path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing runs a user's module, which may raise anything
        raise UnknownCategoryError(f"cannot import category {import_path!r}: {error}") from error
    if not isinstance(found, Category):
        raise UnknownCategoryError(f"{import_path!r} is a {type(found).__name__}, not a Category")
    category: Category[Any] = found
    if expected_hash is not None and category.hash != expected_hash:
        raise CategoryMismatchError(
            f"category {category.name!r} at {import_path} differs from the registered definition: "
            "use the same code everywhere, or raise schema_version and restart the service"
        )
    return category


def category_of(model: type[S]) -> Category[S]:
    """The category defined beside a model, in the model's module. Raises UnknownCategoryError when there is none."""
    for module_name in (model.__module__, __name__):
        for value in vars(sys.modules[module_name]).values():
            if isinstance(value, Category) and value.model is model:
                return value
    raise UnknownCategoryError(f"define a Category for {model.__name__} at the top level of {model.__module__}")


def _table(**allowed: str) -> Mapping[str, frozenset[str]]:
    return {status: frozenset(following.split()) for status, following in allowed.items()}


AGENTS = Category(
    name="agents",
    model=AgentState,
    key_field="agent_id",
    status_field="status",
    transitions=_table(
        Initializing="Ready Failed",
        Ready="Processing Paused Completed Failed",
        Processing="Ready Paused Completed Failed",
        Paused="Ready Processing Failed",
        Completed="",
        Failed="Initializing",
    ),
    indexes=("status", "agent_type"),
)

RESEARCH = Category(
    name="research",
    model=ResearchState,
    key_field="research_id",
    status_field="status",
    transitions=_table(
        Pending="InProgress Failed",
        InProgress="Verifying Failed",
        Verifying="Completed InProgress Failed",
        Completed="",
        Failed="",
    ),
    indexes=("status",),
    monotonic=("iteration_count",),
    rules=(
        "lightning_state.actors.core.verl.rules.research:run_times",
        "lightning_state.actors.core.verl.rules.research:distinct_facts",
    ),
)

VERIFICATIONS = Category(
    name="verifications",
    model=VerificationState,
    key_field="verification_id",
    indexes=("source_id",),
    references={"source_id": "research"},
)

BUILT_IN: tuple[Category[Any], ...] = (AGENTS, RESEARCH, VERIFICATIONS)
"""The categories every service has."""
