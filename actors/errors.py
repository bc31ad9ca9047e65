"""Every error the service raises, one tree, named by what the caller can do about it.

Each class has a stable `code`, says whether repeating the same call is safe (`retryable`) and maps to one HTTP
status. Errors are picklable and travel as `(code, message, details)`: what crosses a process is data, and the class is
looked up by its code on the other side.
"""

from __future__ import annotations

from typing import Any, ClassVar


class LightningStateError(Exception):
    """Anything the state service refuses or cannot do."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])
        self.details: dict[str, Any] = details

    def __getattr__(self, name: str) -> Any:
        """Details read as attributes: `error.expected_version`."""
        details: dict[str, Any] = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"{type(self).__name__} has no detail {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.code, str(self), self.details)


class StateNotFoundError(LightningStateError):
    """No state is stored under this id."""

    code = "not_found"
    http_status = 404


class VersionConflictError(LightningStateError):
    """The stored version is not the expected one: read again and reapply the change.

    Details: category, key, expected_version, current_version, current (the stored state, or None).
    """

    code = "version_conflict"
    http_status = 412


class PatchConflictError(LightningStateError):
    """A JSON patch does not fit the stored state: a test failed, or an operation's target is not there.

    Nothing was changed: read again and make another patch. Details: operation (its number, from 0), op, path.
    """

    code = "patch_conflict"
    http_status = 409


class InvalidTransitionError(LightningStateError):
    """The category's transition table does not allow this change of status.

    Details: category, key, from_status, to_status.
    """

    code = "invalid_transition"
    http_status = 409


class ValidationFailedError(LightningStateError):
    """VERL refused the write. Details: verdict."""

    code = "validation_failed"
    http_status = 422


class ValidationUnavailableError(LightningStateError):
    """No validator answered in time, so nothing was written: the service fails closed."""

    code = "validation_unavailable"
    retryable = True
    http_status = 503


class InvalidStateError(LightningStateError):
    """The input does not fit the category's schema or the service's limits. Details: reason, and where known path."""

    code = "invalid_state"
    http_status = 422


class InvalidKeyError(InvalidStateError):
    """A key is 1 to 256 characters of A-Z a-z 0-9 . _ : @ / + -, not starting with / or ., without // or .. ."""

    code = "invalid_key"


class StateTooLargeError(InvalidStateError):
    """The state, batch or frame exceeds a size limit. Details: size_bytes, limit_bytes."""

    code = "too_large"
    http_status = 413


class StateTooDeepError(InvalidStateError):
    """The state is nested deeper than the limit. Details: limit."""

    code = "too_deep"


class TransactionTooLargeError(InvalidStateError):
    """The transaction reads and writes more keys than the limit. Details: keys, limit."""

    code = "transaction_too_large"
    http_status = 413


class UnknownCategoryError(InvalidStateError):
    """No category of this name is registered: register it by start(categories=[...]) or client.register()."""

    code = "unknown_category"
    http_status = 404


class CategoryMismatchError(InvalidStateError):
    """Another definition is registered under this category's name; the two would store different things."""

    code = "category_mismatch"
    http_status = 409


class LockedError(LightningStateError):
    """Another holder has locked this key. Details: holder, remaining_s."""

    code = "locked"
    retryable = True
    http_status = 409


class LockLostError(LightningStateError):
    """The lease ran out or was reclaimed: what the lock protected may have changed."""

    code = "lock_lost"
    http_status = 409


class LockTimeoutError(LightningStateError):
    """The lock was not granted within the time the caller was ready to wait."""

    code = "lock_timeout"
    retryable = True
    http_status = 409


class StaleFencingTokenError(LightningStateError):
    """A newer grant of this lock exists: the token no longer admits writes."""

    code = "stale_fencing_token"
    http_status = 409


class TransactionAbortedError(LightningStateError):
    """Nothing of the transaction was applied: it may be run again from its start.

    Details: transaction, cause (the code of the error it ended with) and reason: "conflict" (what was read or is to be
    written has changed, or another transaction holds it; with category and key), "refused" (not valid), "locked",
    "deadline", "unavailable" or "interrupted" (given up by a restart).
    """

    code = "transaction_aborted"
    retryable = True
    http_status = 409


class TransactionInDoubtError(LightningStateError):
    """The decision could not be learnt in time: ask with resolve_transaction(). Details: transaction."""

    code = "transaction_in_doubt"
    http_status = 503


class OutcomeUnknownError(LightningStateError):
    """The write may or may not have happened: repeat it under the same request_id, or ask with resolve().

    Details: request_id, category, key.
    """

    code = "outcome_unknown"
    http_status = 503


class OverloadedError(LightningStateError):
    """A bounded queue is full. Details: retry_after_s."""

    code = "overloaded"
    retryable = True
    http_status = 429


class DeadlineExceededError(LightningStateError):
    """The deadline passed, and nothing was changed by this call."""

    code = "deadline_exceeded"
    retryable = True
    http_status = 504


class CompactedError(LightningStateError):
    """This version, revision or resume token is older than what is retained."""

    code = "compacted"
    http_status = 410


class PermissionDeniedError(LightningStateError):
    """The caller has no right to this operation on this state."""

    code = "permission_denied"
    http_status = 403


class UnauthenticatedError(LightningStateError):
    """The caller did not say who it is, or could not prove it."""

    code = "unauthenticated"
    http_status = 401


class StoreError(LightningStateError):
    """The store failed."""

    code = "store_error"
    http_status = 503


class StoreUnavailableError(StoreError):
    """The store cannot be reached or written right now; before COMMIT this means nothing was written."""

    code = "store_unavailable"
    retryable = True


class StoreCorruptError(StoreError):
    """The stored bytes are damaged or incomplete and are not served: restore the files from a backup."""

    code = "store_corrupt"
    http_status = 500


class DataDirectoryError(StoreError):
    """The data directory cannot be used: unwritable, in use by another service, or made by a newer version."""

    code = "data_directory"
    http_status = 500


class FencedError(StoreError):
    """A newer epoch owns this slot: the commit of the older one was refused."""

    code = "fenced"
    retryable = True


class ShardUnavailableError(LightningStateError):
    """The shard that owns this key, or the service itself, cannot be reached; reads may be repeated."""

    code = "shard_unavailable"
    retryable = True
    http_status = 503


class NotOwnerError(ShardUnavailableError):
    """This shard does not own the slot under the epoch the request names; the client refreshes its map."""

    code = "not_owner"


class ServiceNotFoundError(ShardUnavailableError):
    """No such service runs on this Ray cluster, or Ray cannot be reached: start one with `lightning-state up`."""

    code = "service_not_found"


class ClientClosedError(LightningStateError):
    """This client was closed: connect again."""

    code = "client_closed"


class IdempotencyMismatchError(LightningStateError):
    """This request id was already used for a different request."""

    code = "idempotency_mismatch"
    http_status = 409


class RequestBarredError(LightningStateError):
    """This request id was declared not applied (by resolve), or its answer was acknowledged: use a new request id."""

    code = "request_barred"
    http_status = 409


class CorpusError(LightningStateError):
    """The corpus is empty, missing or unreadable."""

    code = "corpus"
    http_status = 422


class ResearchFailedError(LightningStateError):
    """A research run ended Failed; --resume takes over what it had recorded. Details: research_id, reason."""

    code = "research_failed"
    http_status = 409


class AgentLostError(LightningStateError):
    """An agent's process ended and could not be started again."""

    code = "agent_lost"
    retryable = True
    http_status = 503


class ResearchTakenOverError(LightningStateError):
    """Another process has taken over this research run: this one must not write to it any more."""

    code = "research_taken_over"
    http_status = 409


class JudgeError(LightningStateError):
    """The OpenAI-compatible endpoint could not be reached, refused, or answered something that cannot be used."""

    code = "judge"
    retryable = True
    http_status = 503


class ProtocolError(LightningStateError):
    """A frame could not be understood: client and service speak different protocol versions, or bytes were damaged."""

    code = "protocol"
    http_status = 400


def _tree(cls: type[LightningStateError]) -> dict[str, type[LightningStateError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: dict[str, type[LightningStateError]] = _tree(LightningStateError)
"""Every error class by its stable code."""


def _rebuild(code: str, message: str, details: dict[str, Any]) -> LightningStateError:
    return error_from_code(code, message, details)


def error_from_code(code: str, message: str, details: dict[str, Any] | None = None) -> LightningStateError:
    """The error a remote side described; a code unknown here (a newer service) becomes the base class."""
    cls = BY_CODE.get(code)
    if cls is None:
        return LightningStateError(message, **{**(details or {}), "code_received": code})
    return cls(message, **(details or {}))
