"""What to do about an environment whose outcome is not simply done, in the words of ``docs/safety.md``."""

from collections.abc import Mapping
from typing import Any, Final

from aioposthog_env.bulk.outcome import Outcome, Reason
from aioposthog_env.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    CredentialNotAcceptedError,
    DecodeError,
    JournalError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    PostHogEnvError,
    QueueError,
    RateLimiterUnavailableError,
    RateLimitWaitTooLong,
    ScopeError,
    ServerError,
    SettingsNotAppliedError,
    SinkError,
    StateChangedError,
    ThrottledError,
    TransportError,
    ValidationError,
    WaitTimeoutError,
)


def advice_of(outcome: Outcome[Any]) -> str | None:
    """What to do about an outcome; None where nothing is to be done."""
    match outcome.status:
        case "unknown" if isinstance(outcome.error, QueueError):
            return _QUEUE
        case "unknown":
            endpoint = "" if outcome.error is None or outcome.error.endpoint is None else outcome.error.endpoint
            return f"Do not repeat it by hand. {_UNKNOWN.get(endpoint, _LOOK)}"
        case "failed":
            return _of_error(outcome.error)
        case "skipped":
            return _REASONS.get(outcome.reason or "stopped", _REASONS["stopped"])
        case _:
            return _not_taken(outcome)


def _not_taken(outcome: Outcome[Any]) -> str | None:
    if not outcome.not_applied:
        return None
    names = ", ".join(outcome.not_applied)
    if outcome.reason == "not kept":
        return f"{names} could not be given back, or has been changed by somebody since: set it by hand."
    return f"The server did not take {names}: its version or your plan lacks it, or undo could not give it back."


def _of_error(error: PostHogEnvError | None) -> str:
    if error is None:
        return _READ
    if error.action_done:
        return next((words for kind, words in _DONE if isinstance(error, kind)), _DONE_BEFORE)
    return next((words for kind, words in _ERRORS if isinstance(error, kind)), _READ)


_LOOK: Final = "Look at the environment, and compare with what the error says was seen."
_WIDGET: Final = "Look at the environment: another token than before means that it happened."
_COUNTED: Final = "Nothing tells whether it was counted. Twice counts one interest too many, which harms little; decide."

_UNKNOWN: Final[Mapping[str, str]] = {
    "rotate_secret_token": (
        "Look at the environment. Is the backup the secret that your services use, and the secret another one? Then it "
        "happened once: hand the new secret out. Are both as they were? Then wait until the server is certainly idle, and run "
        "again with the same journal and RetryPolicy(resend_after_settle=True). Neither? Then somebody else has rotated too: "
        "hand the present secret out now."
    ),
    "reset_token": _WIDGET,
    "generate_conversations_public_token": _WIDGET,
    "create": "The error lists the environments of that name that were created since: if there is one, it happened.",
    "add_product_intent": _COUNTED,
    "complete_product_onboarding": _COUNTED,
}

_REASONS: Final[Mapping[Reason, str]] = {
    "stopped": "An error ended the run before it. Remove the cause, and run again.",
    "canary": "One of the first environments failed, so this one was left alone. Look at that one first, then run again.",
    "stale": "Somebody has changed one of its settings since. Make a new plan for it, or leave it.",
    "unreadable": "It could not be read when the plan was made. Find out why, and make a new plan.",
    "dry run": "It would be changed. Apply without dry run.",
    "too young": "Its backup is not certainly older than the age that was asked for. Try again later.",
    "not kept": "The journal has no previous value to give back. Set it by hand.",
    "already done": "Nothing: it was so already.",
    "done earlier": "Nothing: an earlier session of the run has done it.",
}

_QUEUE: Final = "See to the workers' queue, and run again with the same journal and workers: what they have done is taken up."
_READ: Final = "Read the error, remove the cause, and run again with the same journal."
_DONE_BEFORE: Final = (
    "The call itself has happened, and the error came after it: do not repeat the call. Run again with the same journal, which "
    "does what is left; without one, retrieve the environment."
)
_DONE: Final[tuple[tuple[type[PostHogEnvError], str], ...]] = (
    (
        SinkError,
        "The secret was rotated, once, and not handed over. Repair the sink and run again with the same journal and sink, "
        "which does not rotate again; without a journal, retrieve the environment: it shows the secret.",
    ),
    (
        SettingsNotAppliedError,
        "The call itself has happened; do not repeat it. The settings in it were not taken: set them by an update.",
    ),
)
_ERRORS: Final[tuple[tuple[type[PostHogEnvError], str], ...]] = (
    (AuthenticationError, "Give a credential of this host and region that is valid, and run again."),
    (CredentialNotAcceptedError, "No token can make this call. Log in, and run again with the session."),
    (PermissionDeniedError, "Give the key the scope that is missing, or let somebody who may do it run this again."),
    (ScopeError, "Give the key the scope that is missing, or use a session where no scope would help; run again."),
    (
        NotFoundError,
        "See whether id, region and the credential's organization are right. If it was deleted, leave it out.",
    ),
    (ConflictError, "Choose another value, such as a name that is not in use, and run again."),
    (ValidationError, "Correct the setting that the error names, and run again."),
    (ConfigurationError, "Correct what the error names, and run again. Nothing was sent."),
    (ThrottledError, "Somebody else uses the same key. Run again later, or with a key of its own."),
    (RateLimitWaitTooLong, "Run again after the time that the error names, or allow longer waits."),
    (ServerError, "The server failed each time. See whether PostHog is well, and run again with the same journal."),
    (NotSentError, "The request never left. See to the network, the host's name and its certificate, and run again."),
    (TransportError, "The answer was lost each time. Sending it again is safe: run again with the same journal."),
    (
        DecodeError,
        "The answer is not as this version knows it. Look at the environment; perhaps this library is too old.",
    ),
    (StateChangedError, "It is no longer as it was expected. Look at it, make a new plan, or leave it."),
    (
        SettingsNotAppliedError,
        "The server said yes and did not take these settings: its version or your plan lacks them. Leave them out for it.",
    ),
    (QueueError, _QUEUE),
    (RateLimiterUnavailableError, "See to the Redis of the shared limiter, and run again. Nothing was sent."),
    (JournalError, "See to the journal's file and its disk, and run again with it."),
    (WaitTimeoutError, "It may still come. Look again later."),
)
"""The first kind that fits is taken."""
