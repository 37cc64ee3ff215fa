"""Everything this library raises.

::

    PostHogEnvError
    ├── ConfigurationError            bad input; nothing was sent
    │   └── InvalidSettingsError      values that no PostHog takes, all of them at once
    ├── ClientStateError              used before entering, after closing, or from another event loop
    ├── ScopeError                    the credential cannot make this call; nothing was sent
    ├── NotSentError                  the request never left
    ├── OutcomeUnknownError           it left, the answer was lost, and it must not be repeated
    │   └── QueueError                the task queue cannot be reached, so what workers did is not known
    ├── TransportError                a read, or a repeatable write, that was lost for good
    ├── ApiError                      PostHog answered with an error
    │   ├── AuthenticationError       401
    │   ├── PermissionDeniedError     403
    │   │   └── CredentialNotAcceptedError   403: the action takes no token of this kind
    │   ├── NotFoundError             404
    │   ├── ConflictError             409
    │   ├── ValidationError           400
    │   ├── ThrottledError            429, when waiting was given up
    │   └── ServerError               5xx
    ├── RateLimitWaitTooLong          the wait that the limits demand is beyond the ceiling
    ├── RateLimiterUnavailableError   the shared limiter's Redis could not be reached; nothing was sent
    ├── DecodeError                   a successful answer that is not what the endpoint promises
    ├── StateChangedError             the environment is no longer as the caller saw it
    ├── SettingsNotAppliedError       the server said yes and did something else
    ├── JournalError                  the record of a bulk run cannot be used
    ├── SinkError                     a secret was rotated and could not be handed over
    ├── WaitTimeoutError              what was waited for has not come
    └── BulkError                     a bulk run had failures; carries the report

Every error names the endpoint and the environment where there is one, tells what to do, holds no secret and pickles.
"""

from collections.abc import Sequence
from typing import Any, Self

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BulkError",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "CredentialNotAcceptedError",
    "DecodeError",
    "InvalidSettingsError",
    "JournalError",
    "NotFoundError",
    "NotSentError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PostHogEnvError",
    "QueueError",
    "RateLimitWaitTooLong",
    "RateLimiterUnavailableError",
    "ScopeError",
    "ServerError",
    "SettingsNotAppliedError",
    "SinkError",
    "StateChangedError",
    "ThrottledError",
    "TransportError",
    "ValidationError",
    "WaitTimeoutError",
]


class PostHogEnvError(Exception):
    """What all errors of this library have in common.

    Attributes:
        endpoint: The endpoint's name, such as ``rotate_secret_token``; None where no call was made.
        environment_id: The environment's id; None where the call names none.
        attempts: How many requests were sent for the call.
        waited: Seconds the call spent waiting, for the rate limit and between attempts.
        action_done: The call itself has taken effect, and the error came after it: do not repeat the call.
        no_effect: A write was sent, and the server certainly did not do it: each time it was refused, or never arrived.
    """

    # Class attributes for an error that is half built, which a traceback may show.
    message: str = ""
    endpoint: str | None = None
    environment_id: int | None = None
    action_done: bool = False
    no_effect: bool = False

    def __init__(self, message: str, *, endpoint: str | None = None, environment_id: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.endpoint = endpoint
        self.environment_id = environment_id
        self.attempts: int = 0
        self.waited: float = 0.0

    def __str__(self) -> str:
        if self.endpoint is None:
            return self.message
        where = "" if self.environment_id is None else f" of environment {self.environment_id}"
        return f"{self.endpoint}{where}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle by calling the class with `args`, which loses keyword-only arguments.
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))

    def about(self, endpoint: str, environment_id: int | None) -> Self:
        """Say which call this error belongs to, unless it already knows."""
        if self.endpoint is None:
            self.endpoint = endpoint
            self.environment_id = environment_id
        return self

    def after(self, done: str) -> Self:
        """Say that the call had taken effect when this error came.

        Args:
            done: What was done and what was not, as a sentence.
        """
        self.action_done = True
        self.message = f"{done} {self.message}"
        return self


def _rebuild(cls: type[PostHogEnvError], args: tuple[Any, ...], state: dict[str, Any]) -> PostHogEnvError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(PostHogEnvError):
    """Bad input, refused with the remedy before anything was sent."""


class InvalidSettingsError(ConfigurationError):
    """Settings with values that every generation of PostHog refuses, or that this server is known to crash at.

    Attributes:
        problems: ``(field, problem)`` for each bad value, nested fields joined by dots.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        listed = "; ".join(f"{field}: {problem}" for field, problem in self.problems)
        super().__init__(f"Nothing was sent, these settings would be refused: {listed}")


class ClientStateError(PostHogEnvError):
    """The client was used before entering, after closing, or from another event loop."""


class ScopeError(PostHogEnvError):
    """The credential cannot make this call. Nothing was sent.

    Attributes:
        missing: The scopes that are needed and not granted; empty when no scope would help.
        credential: The kind of credential, such as ``personal API key``.
    """

    def __init__(self, message: str, *, missing: frozenset[str], credential: str) -> None:
        super().__init__(message)
        self.missing = missing
        self.credential = credential


class NotSentError(PostHogEnvError):
    """The request never left: refused, unresolvable, unconnectable, or a certificate that is not trusted."""


class OutcomeUnknownError(PostHogEnvError):
    """The request left, its answer was lost, and the call must not be repeated.

    PostHog has no idempotency keys: whether the change happened can only be seen by looking at the environment.

    Attributes:
        observations: What is known, in order, as sentences. Secrets appear as digests only.
    """

    def __init__(self, message: str, *, observations: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.observations: tuple[str, ...] = tuple(observations)


class TransportError(PostHogEnvError):
    """A call that may be repeated was lost on the way each time it was tried."""


class ApiError(PostHogEnvError):
    """PostHog answered with an error.

    PostHog's envelope has four keys (contract: ``type``, ``code``, ``detail``, ``attr``) and reports only the first
    problem. Where a proxy answered instead, ``type`` and ``code`` are empty.

    Attributes:
        status: The HTTP status.
        type: PostHog's error type. Classify by status and code, never by type alone.
        code: PostHog's error code.
        detail: PostHog's sentence.
        attr: The field at fault, nested names joined by ``__``; None for other errors.
    """

    def __init__(
        self, message: str, *, status: int, type: str = "", code: str = "", detail: str = "", attr: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.detail = detail
        self.attr = attr


class AuthenticationError(ApiError):
    """401: the credential is missing, unknown, revoked, expired, or belongs to another region."""


class PermissionDeniedError(ApiError):
    """403: the credential is known and may not do this."""


class CredentialNotAcceptedError(PermissionDeniedError):
    """403: the action publishes no scope, so no token can make the call; a session can."""


class NotFoundError(ApiError):
    """404: no such environment, or none that this credential can see."""


class ConflictError(ApiError):
    """409: for example a name that the organization already uses."""


class ValidationError(ApiError):
    """400: the server refused the input; ``attr`` names the field where it is known."""


class ThrottledError(ApiError):
    """429, after which waiting was given up.

    Attributes:
        retry_after: Seconds the server asked to wait; None where it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = "",
        code: str = "",
        detail: str = "",
        attr: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, type=type, code=code, detail=detail, attr=attr)
        self.retry_after = retry_after


class ServerError(ApiError):
    """5xx, or 408: the server failed each time it was asked."""


class RateLimitWaitTooLong(PostHogEnvError):  # noqa: N818  the public name says what happened
    """The rate limit demands a longer wait than the ceiling allows. Nothing was sent for this attempt.

    Attributes:
        retry_after: Seconds until the call could go.
        ceiling: The longest wait that was allowed, in seconds.
        deadline: Whether that was the deadline of the call, and not the ceiling for waits.
    """

    def __init__(self, *, retry_after: float, ceiling: float, deadline: bool = False) -> None:
        bound, remedy = ("its deadline is in", "deadline=…") if deadline else ("waits are limited to", "wait_ceiling=None")
        super().__init__(
            f"The rate limit allows this call in {retry_after:.0f} s, and {bound} {ceiling:.0f} s. "
            f"Call again later, or allow longer waits with RetryPolicy({remedy})."
        )
        self.deadline = deadline
        self.retry_after = retry_after
        self.ceiling = ceiling


class RateLimiterUnavailableError(PostHogEnvError):
    """The Redis of a ``RedisRateLimiter`` could not be reached, so nobody knows whether the call fits. Nothing was sent."""


class DecodeError(PostHogEnvError):
    """A successful answer that does not hold what the endpoint promises.

    Attributes:
        path: Where in the body, such as ``$.app_urls[2]``.
    """

    path: str = "$"

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        return f"{super().__str__()} (at {self.path})"


class StateChangedError(PostHogEnvError):
    """The environment is no longer as the caller saw it. Nothing was sent, unless ``action_done`` says so."""


class SettingsNotAppliedError(PostHogEnvError):
    """The server answered with success, and some settings are not what was asked.

    PostHog ignores unknown, read-only and plan-gated settings silently, and the action endpoints ignore the settings
    that its documentation page shows in their body.

    Attributes:
        fields: What differs, sorted: settings, and keys inside settings, such as ``session_replay_config.ai_config.opt_in``.
        environment: The environment as the server returned it. For an action, the action itself has happened.
    """

    def __init__(
        self, *, fields: Sequence[str], environment: Any, action_done: bool = False, message: str | None = None
    ) -> None:
        done = "The action itself has happened; do not repeat it. " if action_done else ""
        super().__init__(
            message
            or f"{done}The server answered with success but did not take: {', '.join(fields)}. "
            "It ignores settings that its version does not know or that the plan does not include."
        )
        self.fields: tuple[str, ...] = tuple(fields)
        self.environment = environment
        self.action_done = action_done


class JournalError(PostHogEnvError):
    """The record of a bulk run cannot be used; says why and what can be saved."""


class QueueError(OutcomeUnknownError):
    """The task queue of the workers cannot be reached, so it is not known what they have done.

    A run with a journal, resumed with the same workers, takes up what they have done meanwhile. At the beginning of a run
    nothing was sent.
    """


class SinkError(PostHogEnvError):
    """A secret was rotated, once, and the sink did not take the new one.

    Nothing is lost: ``retrieve`` shows the new secret. A run with a journal, resumed with the same sink, hands it over without
    rotating; without a journal nothing remembers that it is due.
    """

    action_done = True


class WaitTimeoutError(PostHogEnvError, TimeoutError):
    """What was waited for has not come within the deadline. It may still come."""


class BulkError(PostHogEnvError):
    """A bulk run had failures or unknown outcomes.

    Attributes:
        report: The ``BulkReport`` of the run.
    """

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report
