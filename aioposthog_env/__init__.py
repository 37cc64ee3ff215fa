"""The safe way to read and change many PostHog environments at once, from async Python or a shell.

Names are resolved when they are first used (PEP 562), so that importing this package, and starting its command line,
costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aioposthog_env.version import __version__

if TYPE_CHECKING:
    from aioposthog_env.access import AccessReport, EndpointAccess, EnvironmentAccess
    from aioposthog_env.api.era import Era
    from aioposthog_env.auth import Credential, OAuthToken, PersonalAPIKey, Secret, SessionCookie
    from aioposthog_env.bulk.journal import Journal
    from aioposthog_env.bulk.outcome import BulkReport, Outcome
    from aioposthog_env.bulk.plan import EnvironmentPlan, FieldChange, Plan
    from aioposthog_env.bulk.run import BulkRun
    from aioposthog_env.bulk.selection import Selected, Selection
    from aioposthog_env.bulk.where import Where
    from aioposthog_env.environments import AsyncEnvironments
    from aioposthog_env.errors import (
        ApiError,
        AuthenticationError,
        BulkError,
        ClientStateError,
        ConfigurationError,
        ConflictError,
        CredentialNotAcceptedError,
        DecodeError,
        InvalidSettingsError,
        JournalError,
        NotFoundError,
        NotSentError,
        OutcomeUnknownError,
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
    from aioposthog_env.limiter import RateLimiter, RateLimiterStatistics
    from aioposthog_env.login import log_in
    from aioposthog_env.models.activity import ActivityEntry
    from aioposthog_env.models.environment import Environment, EnvironmentRef, EnvironmentSummary
    from aioposthog_env.models.intents import ProductIntent
    from aioposthog_env.models.keys import KeyInfo
    from aioposthog_env.models.restrictions import IngestionRestriction
    from aioposthog_env.models.settings import UNSET, TeamSettings, UnsetType
    from aioposthog_env.policy.rate_limit import SERVER_LIMITS, RateLimit
    from aioposthog_env.policy.retry import RetryPolicy
    from aioposthog_env.sandbox import Sandbox
    from aioposthog_env.session import PostHogSession
    from aioposthog_env.settings_file import SettingsFile
    from aioposthog_env.shared_limit.limiter import RedisRateLimiter
    from aioposthog_env.transport import Timeout
    from aioposthog_env.workers.coordinator import Workers
    from aioposthog_env.workers.item import WorkItem
    from aioposthog_env.workers.run_item import run_item

_ROOMS = {
    "access": ("AccessReport", "EndpointAccess", "EnvironmentAccess"),
    "api.era": ("Era",),
    "auth": ("Credential", "OAuthToken", "PersonalAPIKey", "Secret", "SessionCookie"),
    "bulk.journal": ("Journal",),
    "bulk.outcome": ("BulkReport", "Outcome"),
    "bulk.plan": ("EnvironmentPlan", "FieldChange", "Plan"),
    "bulk.run": ("BulkRun",),
    "bulk.selection": ("Selected", "Selection"),
    "bulk.where": ("Where",),
    "environments": ("AsyncEnvironments",),
    "errors": (
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
    ),
    "limiter": ("RateLimiter", "RateLimiterStatistics"),
    "login": ("log_in",),
    "models.activity": ("ActivityEntry",),
    "models.environment": ("Environment", "EnvironmentRef", "EnvironmentSummary"),
    "models.intents": ("ProductIntent",),
    "models.keys": ("KeyInfo",),
    "models.restrictions": ("IngestionRestriction",),
    "models.settings": ("UNSET", "TeamSettings", "UnsetType"),
    "policy.rate_limit": ("SERVER_LIMITS", "RateLimit"),
    "policy.retry": ("RetryPolicy",),
    "sandbox": ("Sandbox",),
    "session": ("PostHogSession",),
    "settings_file": ("SettingsFile",),
    "shared_limit.limiter": ("RedisRateLimiter",),
    "transport": ("Timeout",),
    "workers.coordinator": ("Workers",),
    "workers.item": ("WorkItem",),
    "workers.run_item": ("run_item",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "SERVER_LIMITS",
    "UNSET",
    "AccessReport",
    "ActivityEntry",
    "ApiError",
    "AsyncEnvironments",
    "AuthenticationError",
    "BulkError",
    "BulkReport",
    "BulkRun",
    "ClientStateError",
    "ConfigurationError",
    "ConflictError",
    "Credential",
    "CredentialNotAcceptedError",
    "DecodeError",
    "EndpointAccess",
    "Environment",
    "EnvironmentAccess",
    "EnvironmentPlan",
    "EnvironmentRef",
    "EnvironmentSummary",
    "Era",
    "FieldChange",
    "IngestionRestriction",
    "InvalidSettingsError",
    "Journal",
    "JournalError",
    "KeyInfo",
    "NotFoundError",
    "NotSentError",
    "OAuthToken",
    "Outcome",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PersonalAPIKey",
    "Plan",
    "PostHogEnvError",
    "PostHogSession",
    "ProductIntent",
    "QueueError",
    "RateLimit",
    "RateLimitWaitTooLong",
    "RateLimiter",
    "RateLimiterStatistics",
    "RateLimiterUnavailableError",
    "RedisRateLimiter",
    "RetryPolicy",
    "Sandbox",
    "ScopeError",
    "Secret",
    "Selected",
    "Selection",
    "ServerError",
    "SessionCookie",
    "SettingsFile",
    "SettingsNotAppliedError",
    "SinkError",
    "StateChangedError",
    "TeamSettings",
    "ThrottledError",
    "Timeout",
    "TransportError",
    "UnsetType",
    "ValidationError",
    "WaitTimeoutError",
    "Where",
    "WorkItem",
    "Workers",
    "__version__",
    "log_in",
    "run_item",
]


def __getattr__(name: str) -> Any:
    room = _HOME.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
