"""The calls beside verdicts."""

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


def answer_plain(
    call: VerifyFacts | ValidateReasoning | CheckConsistency,
) -> FactReport | ReasoningReport | ConsistencyReport:
    """The report asked for. Raises InvalidStateError for input that is no research state."""
    match call:
        case VerifyFacts():
            return verify_facts(call.facts)
        case ValidateReasoning():
            return validate_reasoning_chain(call.steps)
        case CheckConsistency():
            return check_consistency(call.statements, call.states)
        case _:
            assert_never(call)
