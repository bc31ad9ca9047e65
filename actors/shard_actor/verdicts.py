"""Verdicts for a shard's changes, from the VERL pool; what the rules must know of other keys is read here first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.core.verl.messages import Verdict, VerdictRequest, content_hash
from lightning_state.actors.core.verl.rules.references import references_of
from lightning_state.actors.errors import (
    LightningStateError,
    ShardUnavailableError,
    ValidationFailedError,
    ValidationUnavailableError,
)
from lightning_state.actors.settings import Settings
from lightning_state.actors.shard_actor.peers import Peers
from lightning_state.actors.wire.validator_link import ValidatorLink

Judged = Callable[[int, Refused | None], None]

_SHOWN_ISSUES = 3


class PoolVerdicts:
    """The pool as a shard uses it: a change in, None or the refusal out."""

    def __init__(self, service: str, settings: Settings) -> None:
        self._link = ValidatorLink(service, settings)
        self._peers = Peers(service)
        self._check_references = settings.verl.check_references
        self._rule_sets: dict[str, str] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def learn(self, current: ServiceMap) -> None:
        """Use a newer map to find other keys."""
        self._peers.map = current

    def register(self, category: Category[Any], import_path: str) -> None:
        """Ask for verdicts on a category under its current definition from now on."""
        self._rule_sets[category.name] = self._link.register(category, import_path)

    def judge(self, change: Validate, judged: Judged) -> None:
        """Answer by `judged(change.ticket, refusal)`: None when VERL admits the change."""
        conclude = partial(_conclude, change, judged)
        if self._check_references and change.category.references:
            task = asyncio.get_running_loop().create_task(self._judge_with_references(change, conclude))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        else:  # without a task of its own: one for every write would cost more than the asking
            self._link.begin(self._request(change, {}), change.timeout_ms / 1000, conclude)

    async def close(self) -> None:
        """Stop asking."""
        for task in list(self._reading):
            task.cancel()
        await self._link.close()

    async def _judge_with_references(
        self, change: Validate, conclude: Callable[[Verdict | LightningStateError], None]
    ) -> None:
        deadline_s = change.timeout_ms / 1000
        try:
            references = await self._references(change, deadline_s)
        except LightningStateError as error:
            conclude(error)
        else:
            self._link.begin(self._request(change, references), deadline_s, conclude)

    def _request(self, change: Validate, references: dict[str, bool]) -> VerdictRequest:
        base = change.base if change.base is not None and change.base.body is not None else None
        return VerdictRequest(
            category=change.category.name,
            key=change.key,
            base_version=base.version if base else 0,
            base=base.body if base else None,
            new=change.new,
            new_digest=content_hash(change.new),
            references=references,
            rule_set=self._rule_sets[change.category.name],
        )

    async def _references(self, change: Validate, deadline_s: float) -> dict[str, bool]:
        """Which of the states this one refers to exist, read from their owners after the write arrived."""
        state = change.category.decode(change.new)
        places = [(category, key) for _, category, key in references_of(change.category, state)]
        # What the same transaction writes is not asked for: it would wait for that very transaction.
        present = change.present
        unknown = [(category, key) for category, key in places if f"{category}/{key}" not in present]
        found = await asyncio.gather(*(self._peers.exists(category, key, deadline_s) for category, key in unknown))
        asked = {f"{category}/{key}": exists for (category, key), exists in zip(unknown, found, strict=True)}
        return {name: {**present, **asked}[name] for name in (f"{category}/{key}" for category, key in places)}


def _conclude(change: Validate, judged: Judged, verdict: Verdict | LightningStateError) -> None:
    if isinstance(verdict, ShardUnavailableError):
        # It would send the caller to look for another owner of its own key, which is not what is missing.
        judged(change.ticket, refusal(ValidationUnavailableError(str(verdict))))
    elif isinstance(verdict, LightningStateError):
        judged(change.ticket, refusal(verdict))
    else:
        judged(change.ticket, None if verdict.is_accepted else refusal(_not_verified(change, verdict)))


def _not_verified(change: Validate, verdict: Verdict) -> ValidationFailedError:
    shown = "; ".join(
        f"{issue.path}: {issue.message}" if issue.path else issue.message for issue in verdict.issues[:_SHOWN_ISSUES]
    )
    more = f" (and {len(verdict.issues) - _SHOWN_ISSUES} more)" if len(verdict.issues) > _SHOWN_ISSUES else ""
    return ValidationFailedError(
        f"{change.category.name} {change.key!r} was not verified, confidence {verdict.confidence:.2f} "
        f"of {verdict.threshold:.2f} needed: {shown}{more}",
        verdict=msgspec.to_builtins(verdict, builtin_types=(bytes,)),
    )
