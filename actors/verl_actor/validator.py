"""One validator: frames in, frames out."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Answers, Ping, Pong
from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.verl_actor.examiner import BusyClock, Examiner
from lightning_state.actors.wire.verl_codec import decode_to_validator, encode


class Validator:
    """One validator. Holds no state: it may die at any time, and what it was examining is sent to another."""

    def __init__(self, name: str, judge: JudgeSettings | None) -> None:
        self.endpoint = ""
        """Where its direct channel listens, if it has one."""
        self._name = name
        self._examiner = Examiner(judge)
        self._clock = BusyClock()

    def __repr__(self) -> str:
        return f"<Validator {self._name} in_hand={self._clock.in_hand}>"

    async def frame(self, data: bytes) -> bytes:
        """Answer a batch or a ping; a frame that cannot be read is answered with Refused."""
        answer = self.answer(data)
        return answer if isinstance(answer, bytes) else await answer

    def answer(self, data: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        """The same at once, when nothing in the frame waits for anything; else what is to be awaited."""
        try:
            message = decode_to_validator(data)
        except ProtocolError as error:
            return encode(Refused(error.code, str(error), {}))
        if isinstance(message, Ping):
            return encode(self._pong())
        with self._clock:
            answers = self._examiner.begin(message)
        return encode(answers) if isinstance(answers, Answers) else self._later(answers)

    async def _later(self, answers: Coroutine[Any, Any, Answers]) -> bytes:
        with self._clock:
            return encode(await answers)

    def _pong(self) -> Pong:
        busy_s, alive_s = self._clock.read()
        return Pong(os.getpid(), busy_s, alive_s, self._clock.in_hand, self._examiner.is_stuck, self.endpoint)
