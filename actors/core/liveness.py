"""Whether a shard that does not answer is silent, which ends it, or still starting, which does not."""

from __future__ import annotations

START_WITHIN_S = 30.0
"""A process that answers nothing for this long after its start is begun again."""


class Liveness:
    """One shard as the directory sees it, ping by ping; times are seconds of any one monotonic clock.

    A process that never answered is starting, which may take long on a busy machine. Ending it for that would only
    begin its start again, and never get anywhere.
    """

    def __init__(self, now_s: float) -> None:
        self._heard = False
        self._since_s = now_s

    def __repr__(self) -> str:
        return f"<Liveness {'heard' if self._heard else 'not heard'} since={self._since_s}>"

    def answered(self, now_s: float) -> None:
        """It answered a ping."""
        self._heard, self._since_s = True, now_s

    def ended(self, now_s: float) -> None:
        """Its process is gone, and another one is starting."""
        self._heard, self._since_s = False, now_s

    def timed_out(self, now_s: float, *, lives: bool | None) -> bool:
        """A ping got no answer in time: whether to end the process.

        `lives`: the process that answered or owned the slots before is there still; None when nobody can tell.
        """
        silent = self._heard if lives is None else lives
        if not silent and now_s - self._since_s < START_WITHIN_S:
            return False
        self.ended(now_s)
        return True
