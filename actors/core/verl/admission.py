"""Between the shard's decisions and VERL's: its effect as a request, and a verdict as its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Severity, Verdict, VerdictRequest, content_hash
from lightning_state.actors.errors import ValidationFailedError


def request_for(effect: Validate, rule_set: str, references: Mapping[str, bool] | None = None) -> VerdictRequest:
    """What to ask VERL for a change. `references`: `category/id` → found, for what `references_of` names.

    A tombstone is no base: the state starts anew, bound to the tombstone's version.
    """
    base = effect.base
    return VerdictRequest(
        category=effect.category.name,
        key=effect.key,
        base_version=0 if base is None else base.version,
        base=None if base is None else base.body,
        new=effect.new,
        new_digest=content_hash(effect.new),
        references=dict(references or {}),
        rule_set=rule_set,
    )


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


def refusal_of(verdict: Verdict, category: str, key: str) -> Refused | None:
    """The refusal a verdict makes (`ValidationFailedError`, details: verdict); None when the write may go on."""
    if verdict.is_accepted:
        return None
    errors = [issue for issue in verdict.issues if issue.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        at = f" at {first.path}" if first.path else ""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        why = f"{first.message}{at}{more}"
    else:
        why = f"confidence {verdict.confidence:g} is below {verdict.threshold:g}"
    details = {"category": category, "key": key, "verdict": verdict_as_json(verdict)}
    return Refused(ValidationFailedError.code, f"{category} {key!r} was not accepted: {why}", details)
