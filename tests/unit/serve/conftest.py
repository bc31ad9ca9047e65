from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.http_service import app_of, http_client
from tests.local_service import LocalService


@pytest.fixture
def service() -> LocalService:
    return LocalService()


@pytest.fixture
async def http(service: LocalService) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(app_of(service)) as client:
        yield client
