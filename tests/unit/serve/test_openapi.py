"""The OpenAPI document: valid, complete, its examples true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from tests.http_service import app_of, http_client
from tests.local_service import LocalService


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


async def test_a_prefix_is_listed_exactly_when_the_document_allows_it(
    http: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    schema = document["components"]["parameters"]["Prefix"]["schema"]
    allowed = jsonschema.Draft202012Validator(schema).is_valid
    prefixes = [
        "",
        "a",
        "a.",
        "a/",
        "a/b",
        "a.b",
        "-",
        "a" * 255,
        "a" * 256,
        ".",
        "/",
        "..",
        "a..",
        "a//",
        "~",
        "a b",
        "é",
    ]
    answers = {each: (await http.get("/v1/agents", params={"prefix": each})).is_success for each in prefixes}
    assert answers == {each: allowed(each) for each in prefixes}
    assert set(answers.values()) == {True, False}
