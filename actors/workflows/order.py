"""What a run is asked to do: the same for all its agents, and recorded with the run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import ray

from lightning_state.actors.errors import AgentLostError, InvalidStateError
from lightning_state.actors.wire.names import NAMESPACE, directory_name

MIN_FACTS = 5
MAX_ITERATIONS = 4
RESEARCHERS = 2

_RECORDED = ("corpusPath", "maxIterations", "minFacts", "researchers", "takenOverFrom")
_UNKNOWN = dict.fromkeys(("researchId", "query", "corpusIndex", "service", "runner"), "")


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A question, where to look, and when to stop."""

    research_id: str
    query: str
    corpus_path: str | None
    """The folder or file; None: what the installed distributions carry."""
    corpus_index: str
    """The directory of its index, built before the run begins."""
    service: str
    runner: str
    """This attempt at the run: a later one takes over, and this one may then write no more."""
    max_iterations: int = MAX_ITERATIONS
    min_facts: int = MIN_FACTS
    researchers: int = RESEARCHERS
    taken_over_from: str | None = None

    def agent_id(self, role: str) -> str:
        """The id of one of the run's agents."""
        return f"{self.research_id}/{role}"

    def actor_name(self, role: str) -> str:
        """The Ray actor of one of this attempt's agents, found by name: agents that Ray restarts find each other so."""
        return f"{actors_prefix(self.service)}{self.research_id}/{self.runner}/{role}"

    def actor(self, role: str) -> Any:
        """A handle of that actor. Raises AgentLostError when it has ended for good."""
        try:
            return ray.get_actor(self.actor_name(role), namespace=NAMESPACE)
        except ValueError as error:
            raise AgentLostError(f"the {role} of research {self.research_id} has ended") from error

    def recorded(self) -> dict[str, Any]:
        """What a resumed run needs to know, for the research state's metadata."""
        values = msgspec.to_builtins(self)
        return {name: values[name] for name in (*_RECORDED, "runner") if values[name] is not None}


def actors_prefix(service: str) -> str:
    """How the names of all agents' actors in a service begin."""
    return directory_name(service).removesuffix("directory") + "research/"


def new_research_id() -> str:
    """Sorts by time, and is short enough to be typed: `r-20260102-030405-1f2e`."""
    return f"r-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def new_runner() -> str:
    """A name for one attempt at a run."""
    return secrets.token_hex(8)


def restored(metadata: Mapping[str, Any], **known: Any) -> Order:
    """The order of a recorded run; `known` are the fields that its metadata does not hold or that differ now.

    Raises InvalidStateError for the state of a run that was not made here.
    """
    found = {name: metadata[name] for name in _RECORDED if name in metadata}
    try:
        return msgspec.structs.replace(msgspec.convert({"corpusPath": None, **found, **_UNKNOWN}, Order), **known)
    except msgspec.ValidationError as error:
        raise InvalidStateError(f"this research was not made by `lightning-state research`: {error}") from error
