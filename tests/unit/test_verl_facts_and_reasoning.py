"""Facts against their sources, and arguments against their form."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.verl.facts import verify_facts
from lightning_state.actors.core.verl.messages import FactClaim, ReasoningStep
from lightning_state.actors.core.verl.reasoning import steps_of, validate_reasoning_chain

SOURCE = """Ray restarts an actor that died. A detached actor outlives its driver.
The default timeout is 30 s. By default, actors are not restarted after a crash of the node.
An actor holds state. The state is lost when the process ends."""


@pytest.mark.parametrize(
    ("content", "source", "status"),
    [
        ("A detached actor outlives its driver.", SOURCE, "Verified"),
        ("Detached actors outlive their driver", SOURCE, "Verified"),
        ("The default timeout is 30 s.", SOURCE, "Verified"),
        ("An actor holds state; the state is lost when the process ends.", SOURCE, "Verified"),
        ("A detached actor does not outlive its driver.", SOURCE, "Disputed"),
        ("The default timeout is 60 s.", SOURCE, "Disputed"),
        ("Actors are restarted by default after a crash of the node.", SOURCE, "Disputed"),
        ("Ray restarts 3 actors that died.", SOURCE, "Failed"),
        ("Whales are mammals.", SOURCE, "Failed"),
        ("Whales are mammals.", "", "Failed"),
        ("!!!", SOURCE, "Failed"),
        ("Whales are mammals.", None, "Pending"),
    ],
)
def test_a_fact_is_judged_by_its_source(content: str, source: str | None, status: str) -> None:
    (finding,) = verify_facts([FactClaim("f", content, source)]).findings
    assert finding.status == status
    assert (finding.confidence >= 0.8) == (status == "Verified")


def test_facts_are_answered_in_order_with_their_mean() -> None:
    report = verify_facts([FactClaim("a", "Ray restarts an actor that died.", SOURCE), FactClaim("b", "x y z", SOURCE)])
    assert [finding.id for finding in report.findings] == ["a", "b"]
    assert report.confidence == 0.5


def chain(*steps: tuple[str, str, str, list[str]]) -> list[ReasoningStep]:
    return [ReasoningStep(*step) for step in steps]


SOUND = chain(
    ("1", "All shards log their commits.", "premise", []),
    ("2", "Shard 7 is one of the shards.", "premise", []),
    ("3", "Shard 7 logs its commits.", "conclusion", ["1", "2"]),
)


def test_a_sound_argument_has_no_finding() -> None:
    report = validate_reasoning_chain(SOUND)
    assert (report.is_valid, report.confidence, report.issues) == (True, 1.0, [])


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([], {("no_steps", "")}),
        (chain(("1", "  ", "premise", [])), {("empty_step", "1")}),
        (chain(("1", "a b", "premise", []), ("1", "c d", "premise", [])), {("duplicate_step", "1")}),
        (chain(("1", "a b", "guess", ["1"])), {("unknown_kind", "1"), ("circular", "1")}),
        (chain(("1", "So it is.", "conclusion", [])), {("no_premises", "1")}),
        (chain(("1", "So it is.", "conclusion", ["9"])), {("unknown_reference", "1")}),
        (
            chain(("1", "a b", "inference", ["2"]), ("2", "c d", "inference", ["1"]), ("3", "e", "conclusion", ["2"])),
            {("forward_reference", "1"), ("circular", "1"), ("circular", "2")},
        ),
        (
            chain(("1", "The sky is blue.", "premise", []), ("2", "The sky is not blue.", "inference", ["1"])),
            {("contradiction", "2")},
        ),
        (
            chain(("1", "Reads take 2 ms.", "premise", []), ("2", "Writes take 9 ms.", "conclusion", ["1"])),
            {("new_number", "2")},
        ),
        (
            chain(("1", "a b", "premise", []), ("2", "c d", "premise", []), ("3", "e f", "conclusion", ["1"])),
            {("unused_premise", "2")},
        ),
    ],
)
def test_each_flaw_is_found_at_its_step(steps: list[ReasoningStep], found: set[tuple[str, str]]) -> None:
    assert {(issue.code, issue.path) for issue in validate_reasoning_chain(steps).issues} == found


def test_plain_sentences_become_steps_with_their_references() -> None:
    steps = steps_of(["Ray is fast.", "By step 1, calls are fast.", "Therefore all is well.", "So steps 1 and 2 hold."])
    assert [(step.kind, step.depends_on) for step in steps] == [
        ("premise", []),
        ("inference", ["1"]),
        ("conclusion", ["1", "2"]),
        ("conclusion", ["1", "2"]),
    ]
    assert validate_reasoning_chain(steps).is_valid
    assert not validate_reasoning_chain(steps_of(["Therefore all is well."])).is_valid
