"""A verdict as people and programs are shown it."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.core.verl.messages import Verdict


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values in camelCase, as errors and HTTP show it."""
    return {
        "isValid": verdict.is_valid,
        "confidence": verdict.confidence,
        "threshold": verdict.threshold,
        "ruleSet": verdict.rule_set,
        "baseVersion": verdict.base_version,
        "issues": [
            {"code": issue.code, "path": issue.path, "message": issue.message, "severity": issue.severity.value}
            for issue in verdict.issues
        ],
    }
