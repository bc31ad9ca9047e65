"""The calls beside verdicts: each gets its report, one that is too large is refused; a verdict as JSON."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.verl.answers import MOST_BYTES, MOST_ITEMS, analyse
from lightning_state.actors.core.verl.messages import (
    CheckConsistency,
    ConsistencyReport,
    FactClaim,
    FactReport,
    Issue,
    ReasoningReport,
    ReasoningStep,
    Statement,
    ValidateReasoning,
    Verdict,
    VerifyFacts,
)
from lightning_state.actors.core.verl.report import verdict_as_json
from lightning_state.actors.errors import StateTooLargeError

SENTENCE = "The sky is blue."


def test_each_call_gets_its_report() -> None:
    assert isinstance(analyse(VerifyFacts([FactClaim("1", SENTENCE, SENTENCE)])), FactReport)
    assert isinstance(analyse(ValidateReasoning([ReasoningStep("1", SENTENCE, "premise", [])])), ReasoningReport)
    assert isinstance(analyse(CheckConsistency([Statement("1", SENTENCE)], [])), ConsistencyReport)


@pytest.mark.parametrize(
    "call",
    [
        VerifyFacts([FactClaim("1", SENTENCE, None)] * (MOST_ITEMS + 1)),
        ValidateReasoning([ReasoningStep("1", "x" * (MOST_BYTES + 1), "premise", [])]),
        CheckConsistency([Statement("1", SENTENCE)] * MOST_ITEMS, [b"{}"]),
    ],
)
def test_what_is_too_large_for_one_call_is_refused(call: VerifyFacts | ValidateReasoning | CheckConsistency) -> None:
    with pytest.raises(StateTooLargeError, match="split it"):
        analyse(call)


def test_a_verdict_is_shown_in_camel_case() -> None:
    verdict = Verdict(
        is_valid=False,
        confidence=0.0,
        issues=[Issue("some_rule", "status", "no")],
        rule_set="r",
        base_version=3,
        content_hash=b"h",
        threshold=0.8,
    )
    assert verdict_as_json(verdict) == {
        "isValid": False,
        "confidence": 0.0,
        "threshold": 0.8,
        "ruleSet": "r",
        "baseVersion": 3,
        "issues": [{"code": "some_rule", "path": "status", "message": "no", "severity": "error"}],
    }
