"""One validator: frames in, frames out."""

from __future__ import annotations

import os

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Answers, Batch, Ping, Pong
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
        try:
            message = decode_to_validator(data)
        except ProtocolError as error:
            return encode(Refused(error.code, str(error), {}))
        return encode(self._pong() if isinstance(message, Ping) else await self._examine(message))

    async def _examine(self, batch: Batch) -> Answers:
        with self._clock:
            return await self._examiner.examine(batch)

    def _pong(self) -> Pong:
        busy_s, alive_s = self._clock.read()
        return Pong(os.getpid(), busy_s, alive_s, self._clock.in_hand, self._examiner.is_stuck, self.endpoint)
