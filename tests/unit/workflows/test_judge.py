from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.judge_server import JudgeServer

from lightning_state.actors.errors import JudgeError
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.judge import Judge, judge_of

FACT = Finding("Water is wet.", "Water", "file:///w.md#L1", "w.md, line 1", "file:///w.md#L1", "/w.md", 1, 1, 1.0, 1.0)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def judge(server: JudgeServer, **settings: object) -> Judge:
    return Judge(JudgeSettings.model_validate({"base_url": server.url, "model": "m", **settings}))


def test_there_is_no_judge_by_default() -> None:
    assert judge_of(JudgeSettings()) is None


async def test_a_summary_is_taken_when_every_sentence_cites_a_given_fact(server: JudgeServer) -> None:
    server.says("Water is wet [1]. It is so. [1] It stays so [1][2].")
    made = await judge(server).summarise("Is water wet?", [FACT, FACT])
    assert made.text.startswith("Water is wet")
    assert "Water is wet. (w.md, line 1)" in server.requests[0]["messages"][1]["content"]


@pytest.mark.parametrize("text", ["Water is wet.", "Water is wet [1]. And dry.", "Water is wet [7].", "", "x" * 5000])
async def test_a_summary_that_does_not_cite_is_refused(server: JudgeServer, text: str) -> None:
    server.says(text)
    with pytest.raises(JudgeError):
        await judge(server).summarise("Is water wet?", [FACT])


async def test_an_opinion_becomes_an_assessment(server: JudgeServer) -> None:
    assert (await judge(server).assess(FACT, "Water is wet.")).is_verified
    server.says(json.dumps({"supported": False, "confidence": 0.7, "reason": "not there"}))
    refuted = await judge(server).assess(FACT, "Fire is hot.")
    assert (refuted.status, refuted.confidence) == ("Disputed", 0.7)
    assert refuted.issues == ["the judge says: not there"]


@pytest.mark.parametrize("answer", ["yes", "{}", '{"supported": true, "confidence": 7, "reason": ""}', "[]"])
async def test_an_opinion_of_another_form_is_an_error(server: JudgeServer, answer: str) -> None:
    server.says(answer)
    with pytest.raises(JudgeError):
        await judge(server).assess(FACT, "Water is wet.")


async def test_an_endpoint_that_refuses_or_hangs_is_an_error(server: JudgeServer) -> None:
    server.says("", status=401)
    with pytest.raises(JudgeError, match="401"):
        await judge(server).assess(FACT, "x")
    server.released.clear()
    with pytest.raises(JudgeError, match="cannot be reached"):
        await judge(server, timeout_s=0.1).assess(FACT, "x")


async def test_the_key_is_sent_and_never_shown(server: JudgeServer) -> None:
    settings = JudgeSettings(base_url=server.url, api_key="secret-key")
    assert "secret-key" not in repr(settings)
    await Judge(settings).assess(FACT, "x")
