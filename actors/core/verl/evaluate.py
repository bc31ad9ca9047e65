"""A verdict: limits, schema, canonical form, then every rule of the category."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_state.actors.category import Category, load_category
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.verl.confidence import confidence_of
from lightning_state.actors.core.verl.context import Rule, VerdictContext
from lightning_state.actors.core.verl.messages import Issue, Severity, Verdict, VerdictRequest, content_hash
from lightning_state.actors.core.verl.rule_set import RuleSet, table_of
from lightning_state.actors.core.verl.rules import EVERY_CATEGORY
from lightning_state.actors.errors import InvalidStateError, UnknownCategoryError
from lightning_state.actors.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_state.actors.settings import JudgeSettings


@dataclass(frozen=True)
class Plan:
    """A rule set made ready to run: its category, rules and user validators imported."""

    id: str
    rule_set: RuleSet
    category: Category[Any]
    transitions: Mapping[str, frozenset[str]] | None
    limits: Limits
    rules: Sequence[tuple[str, Rule]]
    """Name and function, in the order they run."""
    validators: Sequence[tuple[str, Callable[[VerdictContext], Any]]]
    """Import path and callable of the user's own validators."""


class Examined(NamedTuple):
    """The findings of the plain rules and, unless the body was unreadable, what user validators are given."""

    context: VerdictContext | None
    issues: list[Issue]


def load_plan(rule_set: RuleSet) -> Plan:
    """Import what a rule set names.

    Raises UnknownCategoryError for what cannot be imported, CategoryMismatchError for another definition.
    """
    category = load_category(rule_set.import_path, rule_set.category_hash)
    return Plan(
        id=rule_set.id,
        rule_set=rule_set,
        category=category,
        transitions=table_of(category, rule_set),
        limits=rule_set.limits,
        rules=[*EVERY_CATEGORY, *((path, _load(path)) for path in category.rules)],
        validators=[(path, _load(path)) for path in category.validators],
    )


def _load(path: str) -> Callable[[VerdictContext], Any]:
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownCategoryError(f"cannot import the rule {path!r}: {error}") from error
    if not callable(found):
        raise UnknownCategoryError(f"the rule {path!r} is a {type(found).__name__}, not a function")
    return found


def examine(plan: Plan, request: VerdictRequest, judge: JudgeSettings | None = None) -> Examined:
    """Run everything but the user's validators. Never raises for anything in the request."""
    category = plan.category
    try:
        check_key(request.key, plan.limits)
        check_body(request.new, plan.limits)
        new = category.decode(request.new)
    except InvalidStateError as error:
        return Examined(None, _refusals(error))
    context = VerdictContext(
        category=category,
        key=request.key,
        base_version=request.base_version,
        base_body=request.base,
        new_body=request.new,
        new=new,
        transitions=plan.transitions,
        references=request.references,
        check_references=plan.rule_set.check_references,
        judge=judge,
    )
    issues: list[Issue] = []
    for name, rule in plan.rules:
        try:
            issues.extend(rule(context))
        except Exception as error:  # noqa: BLE001  # a rule that fails on odd data must refuse the write, not pass it
            issues.append(failed_issue("rule", name, f"raised {type(error).__name__}"))
    return Examined(context, issues)


def conclude(plan: Plan, request: VerdictRequest, issues: list[Issue]) -> Verdict:
    """The verdict these findings make."""
    return Verdict(
        is_valid=not issues or all(issue.severity is not Severity.ERROR for issue in issues),
        confidence=confidence_of(issues),
        issues=issues,
        rule_set=plan.id,
        base_version=request.base_version,
        content_hash=content_hash(request.new),
        threshold=plan.rule_set.threshold,
    )


def evaluate(plan: Plan, request: VerdictRequest) -> Verdict:
    """The verdict of the plain rules alone."""
    return conclude(plan, request, examine(plan, request).issues)


def failed_issue(kind: str, name: str, what: str) -> Issue:
    """The finding for a rule or validator that gave no answer: fails closed, tells no internals."""
    return Issue(f"{kind}_failed", "", f"{kind} {name} {what}: the state counts as not valid", transient=True)


def _refusals(error: InvalidStateError) -> list[Issue]:
    found: list[dict[str, str]] | None = error.details.get("findings")
    if not found:
        return [Issue(error.code, "", str(error))]
    return [Issue("schema", item["path"], item["message"]) for item in found]
