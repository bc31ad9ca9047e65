"""The calls beside verdicts: facts, arguments, contradictions."""

from __future__ import annotations

from typing import assert_never

from lightning_state.actors.core.verl.consistency import check_consistency
from lightning_state.actors.core.verl.facts import verify_facts
from lightning_state.actors.core.verl.messages import (
    CheckConsistency,
    ConsistencyReport,
    FactReport,
    ReasoningReport,
    ValidateReasoning,
    VerifyFacts,
)
from lightning_state.actors.core.verl.reasoning import validate_reasoning_chain
from lightning_state.actors.errors import StateTooLargeError

MOST_ITEMS = 5_000
"""Facts, steps, or statements and states in one call."""
MOST_BYTES = 8 * 1024 * 1024
"""Characters of text and bytes of states in one call."""


def analyse(
    call: VerifyFacts | ValidateReasoning | CheckConsistency,
) -> FactReport | ReasoningReport | ConsistencyReport:
    """The report asked for; up to a second or so of work, so it belongs on a thread.

    Raises InvalidStateError for a body that is no research state, StateTooLargeError for more than the limits here.
    """
    _check_size(call)
    match call:
        case VerifyFacts():
            return verify_facts(call.facts)
        case ValidateReasoning():
            return validate_reasoning_chain(call.steps)
        case CheckConsistency():
            return check_consistency(call.statements, call.states)
        case _:
            assert_never(call)


def _check_size(call: VerifyFacts | ValidateReasoning | CheckConsistency) -> None:
    match call:
        case VerifyFacts():
            items = len(call.facts)
            # A text that many facts share is taken apart once, but compared with each of them.
            size_bytes = sum(len(fact.content) + len(fact.source_text or "") for fact in call.facts)
        case ValidateReasoning():
            items, size_bytes = len(call.steps), sum(len(step.text) for step in call.steps)
        case CheckConsistency():
            items = len(call.statements) + len(call.states)
            size_bytes = sum(len(statement.text) for statement in call.statements) + sum(map(len, call.states))
        case _:
            assert_never(call)
    if items > MOST_ITEMS or size_bytes > MOST_BYTES:
        raise StateTooLargeError(
            f"{items} items, {size_bytes} bytes; one call takes {MOST_ITEMS} and {MOST_BYTES}: split it",
            size_bytes=size_bytes,
            limit_bytes=MOST_BYTES,
        )
