"""The OpenAPI document: valid, complete, its examples true; and what a fuzzer makes of the server it describes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import randoms
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from tests.http_service import AUTHORIZED, app_of, http_client, served
from tests.local_service import LocalService

KEYS = {"agents": "agentId", "research": "researchId", "verifications": "verificationId"}
STORED = [f"stored-{number}" for number in range(5)]


@pytest.fixture
async def document(http: httpx.AsyncClient) -> dict[str, Any]:
    return (await http.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in ("get", "put", "patch", "delete", "post"):
            if method in item:
                yield path, method, item[method]


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)  # pyright: ignore[reportArgumentType]  # JSON, as read


async def test_every_operation_has_examples_that_fit_its_schemas(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        content = [*operation.get("requestBody", {}).get("content", {}).values()]
        content += [media for answer in operation["responses"].values() for media in answer.get("content", {}).values()]
        assert content or method == "delete", path
        for media in content:
            assert "example" in media, (path, method)
            schema = {**media["schema"], "components": document["components"]}
            jsonschema.validate(media["example"], schema)


async def test_every_route_is_described_and_every_description_is_a_route(service: LocalService) -> None:
    app = app_of(service)
    async with http_client(app) as http:
        document = (await http.get("/openapi.json")).json()
        for path, item in document["paths"].items():
            concrete = re.sub(r"\{\w+\}", "x", path)
            allow = (await http.request("BREW", concrete)).headers["allow"]
            described = {method.upper() for method in item if method != "parameters"}
            assert described == set(allow.split(", ")) - {"HEAD"}, path


async def test_every_example_request_works(http: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """In an order that makes sense: states are made before they are changed, and deleted last."""
    order = ["put", "post", "get", "patch", "delete"]
    for path, method, operation in sorted(operations(document), key=lambda each: order.index(each[1])):
        parameters = document["paths"][path].get("parameters", [])
        concrete = path
        for parameter in parameters:
            concrete = concrete.replace(f"{{{parameter['name']}}}", parameter["example"])
        ((media_type, media),) = operation.get("requestBody", {}).get("content", {"": {}}).items()
        writes = method in {"put", "patch", "delete"}
        answer = await http.request(
            method,
            concrete,
            params={"expectedVersion": "any"} if writes else {},
            json=media.get("example"),
            headers={"content-type": media_type} if media_type else {},
        )
        expected = {200, 201, 204} | ({409} if path.endswith(("~status", "~resolve")) else set())
        assert answer.status_code in expected, (path, method, answer.text)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        with httpx.Client(base_url=address, headers=AUTHORIZED) as http:
            for key in STORED:
                for category, state in (
                    ("agents", {"agentId": key, "agentType": "x", "status": "Ready"}),
                    ("research", {"researchId": key, "query": "?", "status": "InProgress"}),
                    ("verifications", {"verificationId": key, "sourceId": "s", "content": "c"}),
                ):
                    http.put(f"/v1/{category}/{key}", json=state, params={"expectedVersion": "any"})
        yield address


@pytest.fixture(scope="module")
def api(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json", headers=AUTHORIZED)


FUZZING = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.timeout(300)
def test_the_server_keeps_to_its_document_and_does_what_it_is_asked(api: Any) -> None:
    """No 5xx, nothing but what is described; and enough of the cases reach the service to mean something."""
    outcomes: Counter[str] = Counter()
    for operation in _operations(api):

        @settings(FUZZING, max_examples=50)
        @given(case=operation.as_strategy(), random=randoms(use_true_random=False))
        def keeps(case: Any, random: Random) -> None:
            _make_possible(case, random)
            response = case.call_and_validate(headers=_authorized(case), checks=_checks())
            outcomes[f"{response.status_code // 100}xx"] += 1

        keeps()
    assert outcomes["2xx"] / outcomes.total() >= 0.30, outcomes
    assert outcomes["5xx"] == 0


@pytest.mark.timeout(300)
def test_what_the_document_forbids_is_refused(api: Any) -> None:
    for operation in _operations(api):
        if not (operation.body or operation.query or operation.path_parameters):
            continue
        # A batch's states are refused one by one, in a 200.
        more = [] if operation.path.endswith(":batchSet") else CHECKS.get_by_names(["negative_data_rejection"])
        _refuse(operation, [*_checks(), *more])


def _refuse(operation: Any, checks: list[Any]) -> None:
    @settings(FUZZING, max_examples=20)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def refuses(case: Any) -> None:
        case.call_and_validate(headers=_authorized(case), checks=checks)

    refuses()


def _authorized(case: Any) -> dict[str, str]:
    """A fuzzer invents a token too; what it does then is another test's."""
    return {
        **(case.headers or {}),
        "Authorization": AUTHORIZED["authorization"],
    }


def _operations(api: Any) -> list[Any]:
    return [found.ok() for found in api.get_all_operations()]


def _checks() -> list[Any]:
    """All that concern one answer; a state that is not there, or stale, is no breach of the document."""
    names = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
    return CHECKS.get_by_names(names)


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
