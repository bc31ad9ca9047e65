"""A fuzzer asks for what the OpenAPI document forbids: refused, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from tests.fuzzing import FUZZING, checks_of_an_answer, fuzzed, headers_of, operations_of


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    with fuzzed() as described:
        yield described


@pytest.mark.timeout(300)
def test_what_the_document_forbids_is_refused(api: Any) -> None:
    for operation in operations_of(api):
        if not (operation.body or operation.query or operation.path_parameters):
            continue
        # A batch's states are refused one by one, in a 200.
        more = [] if operation.path.endswith(":batchSet") else CHECKS.get_by_names(["negative_data_rejection"])
        _refuse(operation, [*checks_of_an_answer(), *more])


def _refuse(operation: Any, checks: list[Any]) -> None:
    @settings(FUZZING, max_examples=20)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def refuses(case: Any) -> None:
        case.call_and_validate(headers=headers_of(case), checks=checks)

    refuses()
