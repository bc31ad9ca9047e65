"""What VERL is asked and what it answers, as msgspec structs that encode to arrays."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b

import msgspec

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.rule_set import RuleSet
from lightning_state.actors.tables import MOST_ROWS, record_table

VERL_PROTOCOL = 1
"""Version of these frames; a pool and those that ask it must speak the same."""


def content_hash(body: bytes) -> bytes:
    """The digest a verdict is bound to: 16 bytes."""
    return blake2b(body, digest_size=16).digest()


class Severity(StrEnum):
    """An error refuses the write; a warning lowers the confidence."""

    ERROR = "error"
    WARNING = "warning"


class Issue(msgspec.Struct, array_like=True, frozen=True):
    """One finding. User rules and validators return these."""

    code: str
    """Stable name of the finding, such as `counter_decreased`."""
    path: str
    """Where in the state's JSON, dotted; empty for the state as a whole."""
    message: str
    severity: Severity = Severity.ERROR
    weight: float = 0.1
    """How much a warning lowers the confidence; an error lowers it to 0 whatever its weight."""
    transient: bool = False
    """The finding is about the validator (a timeout, say), not the state: a later try may end differently."""


class VerdictRequest(msgspec.Struct, tag="verdict", array_like=True, frozen=True):
    """Ask whether a change is valid. `base` is the committed body; None: the key has no state."""

    category: str
    key: str
    base_version: int
    base: bytes | None
    new: bytes
    new_digest: bytes
    """`content_hash(new)`; the verdict must come back with the same."""
    references: dict[str, bool]
    """`category/id` → found, for what `references_of` names; read by the shard, never by a validator."""
    rule_set: str


class Verdict(msgspec.Struct, tag="verdict", array_like=True, frozen=True):
    """The answer, valid for one (category, key, base version, content, rule set) and nothing else."""

    is_valid: bool
    """No finding is an error."""
    confidence: float
    """1.0 without findings, less the weight of each warning, 0.0 with any error."""
    issues: list[Issue]
    rule_set: str
    base_version: int
    content_hash: bytes
    threshold: float
    """The confidence a write of this category needs."""

    @property
    def is_accepted(self) -> bool:
        """Whether the write may be persisted."""
        return self.is_valid and self.confidence >= self.threshold

    @property
    def is_transient(self) -> bool:
        """Whether asking again may end differently: such a verdict is never cached."""
        return any(issue.transient for issue in self.issues)

    def _repr_html_(self) -> str:
        return record_table(self, "Verdict: accepted" if self.is_accepted else "Verdict: refused")


class EvaluateConfidence(msgspec.Struct, tag="confidence", array_like=True, frozen=True):
    """Ask how much VERL trusts a state taken by itself (no base). Answered with a Verdict of base version 0."""

    key: str
    body: bytes
    rule_set: str


class FactClaim(msgspec.Struct, array_like=True, frozen=True):
    """A statement and the text that is said to support it; None when that text is not at hand."""

    id: str
    content: str
    source_text: str | None = None


class VerifyFacts(msgspec.Struct, tag="facts", array_like=True, frozen=True):
    """Ask whether sources support facts; answered with a FactReport."""

    facts: list[FactClaim]


class FactFinding(msgspec.Struct, array_like=True, frozen=True):
    """What the source says of one fact."""

    id: str
    status: str
    """A FactVerificationStatus: Verified, Disputed (it says otherwise), Failed (not in it), Pending (no text)."""
    confidence: float
    """0–1: the share of the fact that the passage carries."""
    passage: str
    """The sentences of the source that were compared; empty when there are none."""
    reason: str


class FactReport(msgspec.Struct, tag="facts", array_like=True, frozen=True):
    """One finding a fact, in the order asked. `confidence` is their mean, 1.0 for none."""

    findings: list[FactFinding]
    confidence: float

    def _repr_html_(self) -> str:
        return record_table(self, "FactReport")


class ReasoningStep(msgspec.Struct, array_like=True, frozen=True):
    """One step of an argument."""

    id: str
    text: str
    kind: str = "inference"
    """premise, inference or conclusion."""
    depends_on: list[str] = []
    """Ids of the steps it rests on."""


class ValidateReasoning(msgspec.Struct, tag="reasoning", array_like=True, frozen=True):
    """Ask whether an argument holds together; answered with a ReasoningReport."""

    steps: list[ReasoningStep]


class ReasoningReport(msgspec.Struct, tag="reasoning", array_like=True, frozen=True):
    """Findings, each with the step's id as its path; valid without errors, confidence as for a verdict."""

    is_valid: bool
    confidence: float
    issues: list[Issue]

    def _repr_html_(self) -> str:
        return record_table(self, "ReasoningReport")


class Statement(msgspec.Struct, array_like=True, frozen=True):
    """A sentence and a name to report it by."""

    id: str
    text: str


class CheckConsistency(msgspec.Struct, tag="consistency", array_like=True, frozen=True):
    """Ask whether any of these contradict each other. `states` are bodies of research states."""

    statements: list[Statement]
    states: list[bytes] = []


class Contradiction(msgspec.Struct, array_like=True, frozen=True):
    """A pair that cannot both be true."""

    kind: str
    """negation, antonym, quantity or status."""
    first: str
    second: str
    reason: str


class ConsistencyReport(msgspec.Struct, tag="consistency", array_like=True, frozen=True):
    """The contradictions found, pair by pair; consistent when there is none."""

    is_consistent: bool
    contradictions: list[Contradiction]

    def _repr_html_(self) -> str:
        return record_table(self, "ConsistencyReport")


Call = VerdictRequest | EvaluateConfidence | VerifyFacts | ValidateReasoning | CheckConsistency
Answer = Verdict | FactReport | ReasoningReport | ConsistencyReport | Refused


class Batch(msgspec.Struct, tag="batch", array_like=True, frozen=True):
    """Calls to one validator, answered in the same order, with every rule set they name."""

    protocol: int
    rule_sets: dict[str, RuleSet]
    calls: list[Call]


class Answers(msgspec.Struct, tag="answers", array_like=True, frozen=True):
    """The answers to a batch, in the order of its calls."""

    answers: list[Answer]


class Ping(msgspec.Struct, tag="ping", array_like=True, frozen=True):
    """Ask a validator whether it is there, and how busy."""


class Pong(msgspec.Struct, tag="pong", array_like=True, frozen=True):
    """A validator's load. Shares of wall time are differences of two pongs of one incarnation."""

    pid: int
    busy_s: float
    """Seconds with work in hand since the process began."""
    alive_s: float
    """Seconds since the process began."""
    in_hand: int
    """Calls being examined now."""
    is_stuck: bool
    """Every thread for user validators is held by one that overran its timeout: it can run no more of them."""
    endpoint: str = ""
    """Where its direct channel listens; empty without one."""


class Members(msgspec.Struct, tag="members", array_like=True, frozen=True):
    """Ask the pool's supervisor who validates now, and why there are so many."""


class PoolDecision(msgspec.Struct, array_like=True, frozen=True):
    """One automatic decision of the pool."""

    time_us: int
    action: str
    """start, adopt, replace, scale_up, scale_down or stop."""
    subject: str
    """The validator's name, or the pool's."""
    reason: str


class PoolView(msgspec.Struct, tag="pool", array_like=True, frozen=True):
    """The pool as its supervisor sees it."""

    members: list[str]
    """Actor names of the validators to send to."""
    utilisation: float
    """Mean share of wall time the validators had work in hand, at the last pings."""
    desired: int
    decisions: list[PoolDecision]
    """The latest ones, oldest first."""
    pid: int
    """The supervisor's process."""
    endpoints: dict[str, str] = {}
    """Actor name → where its direct channel listens, of the members that have one."""

    def __repr__(self) -> str:
        # Without the endpoints: they hold the tokens of their channels.
        return f"<PoolView validators={len(self.members)} desired={self.desired} utilisation={self.utilisation:.0%}>"

    def _repr_html_(self) -> str:
        decisions = [
            {
                "time": datetime.fromtimestamp(each.time_us / 1e6, UTC),
                "action": each.action,
                "subject": each.subject,
                "reason": each.reason,
            }
            for each in self.decisions[-MOST_ROWS:]
        ]
        shown = {"utilisation": self.utilisation, "desired": self.desired, "members": self.members}
        return record_table({**shown, "decisions": decisions}, "Validators")


ToValidator = Batch | Ping
FromValidator = Answers | Pong | Refused
ToPool = Members
FromPool = PoolView
