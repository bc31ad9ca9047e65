"""Whether an argument holds together. Its form is checked, not its truth.

Found: nothing to check, steps without text, ids used twice, references to steps that do not exist or come later,
circular dependence, contradictions between steps, conclusions without premises, numbers out of nowhere, and premises
nobody uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lightning_state.actors.core.verl.clauses import content_words, is_number
from lightning_state.actors.core.verl.confidence import confidence_of
from lightning_state.actors.core.verl.consistency import check_consistency
from lightning_state.actors.core.verl.messages import Issue, ReasoningReport, ReasoningStep, Severity, Statement

PREMISE, INFERENCE, CONCLUSION = KINDS = ("premise", "inference", "conclusion")
"""What a step can be. Only premises may rest on nothing."""

UNUSED_WEIGHT = 0.02
NUMBER_WEIGHT = 0.15
"""How much an unused premise, and a number that no step it rests on holds, lower the confidence."""

_CONCLUDES = re.compile(r"(therefore|thus|hence|consequently|so|it follows|in conclusion)\b", re.IGNORECASE)
_REFERS = re.compile(r"\bsteps?\s+(\d+(?:\s*(?:,|and|&)\s*\d+)*)", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")


def steps_of(texts: Sequence[str]) -> list[ReasoningStep]:
    """Plain sentences as steps, named by their number from "1".

    "step 2", "steps 1 and 3" are references; a step that begins with "therefore", "so" and the like is a conclusion and
    rests on all earlier ones unless it names some; one without references is a premise.
    """
    steps: list[ReasoningStep] = []
    for number, text in enumerate(texts, start=1):
        named = [digits for group in _REFERS.findall(text) for digits in _DIGITS.findall(group)]
        if _CONCLUDES.match(text.strip()):
            earlier = [step.id for step in steps]
            steps.append(ReasoningStep(str(number), text, CONCLUSION, named or earlier))
        else:
            steps.append(ReasoningStep(str(number), text, INFERENCE if named else PREMISE, named))
    return steps


def validate_reasoning_chain(steps: Sequence[ReasoningStep]) -> ReasoningReport:
    """Every finding; `path` is the step's id."""
    issues = [*_form(steps), *_references(steps), *_cycles(steps), *_contradictions(steps), *_numbers(steps)]
    is_valid = all(issue.severity is not Severity.ERROR for issue in issues)
    return ReasoningReport(is_valid, confidence_of(issues), issues)


def _form(steps: Sequence[ReasoningStep]) -> Iterator[Issue]:
    if not steps:
        yield Issue("no_steps", "", "there are no steps")
    seen: set[str] = set()
    for step in steps:
        if not step.text.strip():
            yield Issue("empty_step", step.id, "the step says nothing")
        if step.id in seen:
            yield Issue("duplicate_step", step.id, "another step has the same id")
        if step.kind not in KINDS:
            yield Issue("unknown_kind", step.id, f"a step is one of {', '.join(KINDS)}")
        if step.kind != PREMISE and not step.depends_on:
            yield Issue("no_premises", step.id, f"the {step.kind} rests on no other step")
        seen.add(step.id)


def _references(steps: Sequence[ReasoningStep]) -> Iterator[Issue]:
    place = {step.id: index for index, step in enumerate(steps)}
    used: set[str] = set()
    for index, step in enumerate(steps):
        for name in step.depends_on:
            if name not in place:
                yield Issue("unknown_reference", step.id, f"it rests on step {name[:80]!r}, which does not exist")
            elif name != step.id and place[name] > index:
                yield Issue("forward_reference", step.id, f"it rests on step {name[:80]!r}, which comes later")
            used.add(name)
    if any(step.kind != PREMISE for step in steps):
        for step in steps:
            if step.kind == PREMISE and step.id not in used:
                message = "no other step rests on this premise"
                yield Issue("unused_premise", step.id, message, Severity.WARNING, UNUSED_WEIGHT)


def _cycles(steps: Sequence[ReasoningStep]) -> Iterator[Issue]:
    """Take away, from both ends, the steps on no circle: those that rest on nothing, and those nothing rests on."""
    rests_on = {step.id: set(step.depends_on) for step in steps}
    rests_on = {name: {other for other in others if other in rests_on} for name, others in rests_on.items()}
    left = _without_ends(rests_on)
    carries: dict[str, set[str]] = {name: set() for name in left}
    for name in left:
        for other in rests_on[name] & left:
            carries[other].add(name)
    for name in sorted(_without_ends(carries)):
        yield Issue("circular", name, "the step rests on itself, by way of the steps it names")


def _without_ends(edges: dict[str, set[str]]) -> set[str]:
    """The nodes left when those without an edge to a node left are taken away, again and again (Kahn 1962)."""
    missing = {name: len(others) for name, others in edges.items()}
    backwards: dict[str, list[str]] = {name: [] for name in edges}
    for name, others in edges.items():
        for other in others:
            backwards[other].append(name)
    ends = [name for name, count in missing.items() if not count]
    for end in ends:  # grows while it is read
        del missing[end]
        for name in backwards[end]:
            missing[name] -= 1
            if not missing[name]:
                ends.append(name)
    return set(missing)


def _contradictions(steps: Sequence[ReasoningStep]) -> Iterator[Issue]:
    for found in check_consistency([Statement(step.id, step.text) for step in steps]).contradictions:
        yield Issue("contradiction", found.second, f"it contradicts step {found.first}: {found.reason}")


def _numbers(steps: Sequence[ReasoningStep]) -> Iterator[Issue]:
    """A conclusion should not bring a number that none of the steps it rests on holds."""
    text = {step.id: step.text for step in steps}
    for step in steps:
        if step.kind != CONCLUSION or not step.depends_on:
            continue
        given = set(_DIGITS.findall(" ".join(step.depends_on)))  # "by steps 1 and 2" names steps, not quantities
        for name in step.depends_on:
            given.update(word for word in content_words(text.get(name, "")) if is_number(word))
        if fresh := sorted(word for word in content_words(step.text) if is_number(word) and word not in given):
            message = f"the number {fresh[0]} is in none of the steps it rests on"
            yield Issue("new_number", step.id, message, Severity.WARNING, NUMBER_WEIGHT)
