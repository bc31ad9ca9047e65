"""A fuzzer asks for what the OpenAPI document allows: no 5xx, and nothing but what is described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import randoms
from tests.fuzzing import FUZZING, STORED, checks_of_an_answer, fuzzed, headers_of, operations_of

KEYS = {"agents": "agentId", "research": "researchId", "verifications": "verificationId"}


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    with fuzzed() as described:
        yield described


@pytest.mark.timeout(300)
def test_the_server_keeps_to_its_document_and_does_what_it_is_asked(api: Any) -> None:
    """No 5xx, nothing but what is described; and enough of the cases reach the service to mean something."""
    outcomes: Counter[str] = Counter()
    for operation in operations_of(api):

        @settings(FUZZING, max_examples=50)
        @given(case=operation.as_strategy(), random=randoms(use_true_random=False))
        def keeps(case: Any, random: Random) -> None:
            _make_possible(case, random)
            response = case.call_and_validate(headers=headers_of(case), checks=checks_of_an_answer())
            outcomes[f"{response.status_code // 100}xx"] += 1

        keeps()
    assert outcomes["2xx"] / outcomes.total() >= 0.30, outcomes
    assert outcomes["5xx"] == 0


def _make_possible(case: Any, random: Random) -> None:
    """Half the cases ask for a key that exists, name it in the state too, and give one condition at most."""
    category = case.path.split("/")[2].split(":")[0] if case.path.startswith("/v1/") else ""
    key = KEYS.get(category)
    if key is None:
        return
    if case.path_parameters and random.random() < 0.8:
        case.path_parameters[key] = random.choice(STORED)
    if case.method.lower() == "put" and isinstance(case.body, dict) and case.path_parameters:
        case.body[key] = case.path_parameters[key]
    if case.method.lower() in {"put", "patch", "delete"} and random.random() < 0.8:
        case.query = {**(case.query or {}), "expectedVersion": "any"}
        for name in ("If-Match", "If-None-Match"):
            if case.headers:
                case.headers.pop(name, None)
