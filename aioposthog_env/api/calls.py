"""One call as a value: the endpoint and what is sent with it, checked, without saying to which environment.

The facade makes one for a single environment, the bulk run makes one and uses it for thousands.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import attrs

from aioposthog_env.api import endpoints
from aioposthog_env.api.endpoints import Endpoint
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.activity import ActivityPage
from aioposthog_env.models.comparing import SENSITIVE, Digests, digests
from aioposthog_env.models.converter import check_json, encode, unstructure
from aioposthog_env.models.environment import Environment, EnvironmentPage
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import FACTS, JSONValue, TeamSettings
from aioposthog_env.models.validation import check
from aioposthog_env.redacted import RedactedText

T = TypeVar("T")

_LONGEST_PRODUCT_TYPE: Final = 255
"""Longer ones crash older servers."""


@attrs.frozen
class Call(Generic[T]):
    """What is sent.

    Attributes:
        endpoint: The row of the endpoint table.
        body: The body, encoded; None for none.
        fields: The keys of the body, on which the scope of an update may depend.
        query: The query with its question mark, or nothing.
        asked: The settings that the answer is compared with.
        expected: The digest of the secret or token that the call is to replace; None for whatever is there.
        expected_settings: The digests of the settings that the call is to replace; None for whatever is there.
    """

    endpoint: Endpoint
    body: bytes | None = None
    fields: frozenset[str] = frozenset()
    query: str = ""
    asked: TeamSettings | None = None
    expected: str | None = None
    expected_settings: Digests | None = None


_SHORTEST_SENSITIVE: Final = 6
"""Shorter texts are no secrets, and would be found in the middle of words."""


def sensitive_texts(settings: TeamSettings | None) -> frozenset[str]:
    """The texts among the sensitive settings, which no error may repeat."""
    wire = {} if settings is None else unstructure(settings)
    texts = (text.strip() for name in SENSITIVE & wire.keys() for text in _texts(wire[name]))
    return frozenset(RedactedText(text) for text in texts if len(text) >= _SHORTEST_SENSITIVE)


def _texts(value: JSONValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _with_settings(
    endpoint: Endpoint, settings: TeamSettings | None, extra: Mapping[str, JSONValue] | None = None
) -> Call[Environment]:
    check_json(extra)
    if settings is not None:
        check(settings)
    # From here on nothing is refused: a traceback would show the revealed settings among the local variables.
    wire = ({} if settings is None else unstructure(settings)) | dict(extra or {})
    return Call(endpoint, encode(wire) if wire else None, frozenset(wire), asked=settings)


def _product(product_type: str) -> str:
    if not product_type.strip() or len(product_type) > _LONGEST_PRODUCT_TYPE:
        raise ConfigurationError(f"product_type must hold 1 to {_LONGEST_PRODUCT_TYPE} characters.")
    return product_type


def list_page(*, limit: int, offset: int, search: str | None) -> Call[EnvironmentPage]:
    """One page of the list."""
    query: dict[str, object] = {"limit": limit}
    if offset:
        query["offset"] = offset
    if search:
        query["search"] = search
    return Call(endpoints.LIST, query=f"?{urlencode(query)}")


def retrieve() -> Call[Environment]:
    """Read an environment."""
    return Call(endpoints.RETRIEVE)


def update(settings: TeamSettings, *, expected: TeamSettings | Digests | None = None) -> Call[Environment]:
    """Change settings.

    Args:
        settings: The settings to change.
        expected: What they are to replace, as settings or as their digests; None for whatever is there.

    Raises:
        ConfigurationError: No setting is set, or values that no PostHog takes, or a setting without what is expected of it.
    """
    call = _with_settings(endpoints.UPDATE, settings)
    if not call.fields:
        raise ConfigurationError(
            "Nothing was sent: no setting is set. Give the settings to change, for example anonymize_ips=True."
        )
    if expected is None:
        return call
    seen = digests(expected, call.fields) if isinstance(expected, TeamSettings) else dict(expected)
    if isinstance(expected, TeamSettings) and (missing := sorted(call.fields - set(seen))):
        raise ConfigurationError(f"expected does not say what {', '.join(missing)} is to replace. Nothing was sent.")
    return attrs.evolve(call, expected_settings=seen)


def create(settings: TeamSettings) -> Call[Environment]:
    """Create an environment.

    Raises:
        ConfigurationError: Values that no PostHog takes, or settings that cannot be given on creation.
    """
    check(settings, creating=True)
    wire = unstructure(settings)
    return Call(endpoints.CREATE, encode(wire), frozenset(wire), asked=settings)


def delete() -> Call[None]:
    """Delete an environment."""
    return Call(endpoints.DELETE)


def activity_page(*, page: int, limit: int) -> Call[ActivityPage]:
    """One page of the activity log, from 1."""
    return Call(endpoints.ACTIVITY, query=f"?page={page}&limit={limit}")


def add_product_intent(
    product_type: str,
    *,
    intent_context: str | None = None,
    metadata: Mapping[str, JSONValue] | None = None,
    settings: TeamSettings | None = None,
) -> Call[Environment]:
    """Say that a product is of interest.

    Raises:
        ConfigurationError: The product type is empty or too long.
    """
    body: dict[str, Any] = {"product_type": _product(product_type)}
    if intent_context is not None:
        body["intent_context"] = intent_context
    if metadata is not None:
        body["metadata"] = dict(metadata)
    return _with_settings(endpoints.ADD_PRODUCT_INTENT, settings, body)


def complete_product_onboarding(product_type: str, *, settings: TeamSettings | None = None) -> Call[Environment]:
    """Say that the onboarding of a product is complete.

    Raises:
        ConfigurationError: The product type is empty or too long.
    """
    body: dict[str, JSONValue] = {"product_type": _product(product_type)}
    return _with_settings(endpoints.COMPLETE_PRODUCT_ONBOARDING, settings, body)


def event_ingestion_restrictions() -> Call[list[IngestionRestriction]]:
    """Read what the ingestion holds back."""
    return Call(endpoints.EVENT_INGESTION_RESTRICTIONS)


def is_generating_demo_data() -> Call[bool]:
    """Ask whether demo data is still being made."""
    return Call(endpoints.IS_GENERATING_DEMO_DATA)


def _digest(expected: str | None) -> str | None:
    if expected is not None and not re.fullmatch("[0-9a-f]{64}", expected):
        raise ConfigurationError("expected takes a digest, as Secret.digest() gives it, never the secret itself.")
    return expected


def reset_token(*, expected: str | None = None, settings: TeamSettings | None = None) -> Call[Environment]:
    """Replace the project token."""
    return attrs.evolve(_with_settings(endpoints.RESET_TOKEN, settings), expected=_digest(expected))


def rotate_secret_token(*, expected: str | None = None, settings: TeamSettings | None = None) -> Call[Environment]:
    """Replace the secret token."""
    return attrs.evolve(_with_settings(endpoints.ROTATE_SECRET_TOKEN, settings), expected=_digest(expected))


def delete_secret_token_backup(*, settings: TeamSettings | None = None) -> Call[Environment]:
    """Drop the backup of the secret token."""
    return _with_settings(endpoints.DELETE_SECRET_TOKEN_BACKUP, settings)


def settings_as_of(at: datetime, names: Collection[str]) -> Call[TeamSettings]:
    """Read what settings were at a time.

    Raises:
        ConfigurationError: The time has no time zone, or a name is no setting.
    """
    if at.tzinfo is None:
        raise ConfigurationError("The time needs a time zone: datetime(2026, 1, 31, tzinfo=UTC).")
    if isinstance(names, str) or not names or not set(names) <= set(FACTS):
        unknown = "" if isinstance(names, str) else f" Not known: {', '.join(sorted(set(names) - set(FACTS)))}."
        raise ConfigurationError(f'Name the settings, for example ["timezone"].{unknown}')
    query = urlencode({"at": at.isoformat(), "scope": sorted(set(names))}, doseq=True)
    return Call(endpoints.SETTINGS_AS_OF, query=f"?{query}")


def experiments_config() -> Call[dict[str, JSONValue]]:
    """Read how experiments are run."""
    return Call(endpoints.EXPERIMENTS_CONFIG)


def update_experiments_config(changes: Mapping[str, JSONValue]) -> Call[dict[str, JSONValue]]:
    """Change how experiments are run.

    Raises:
        ConfigurationError: Nothing to change, or no JSON.
    """
    return _with_changes(endpoints.UPDATE_EXPERIMENTS_CONFIG, changes)


def logs_config() -> Call[dict[str, JSONValue]]:
    """Read how logs are read."""
    return Call(endpoints.LOGS_CONFIG)


def update_logs_config(changes: Mapping[str, JSONValue]) -> Call[dict[str, JSONValue]]:
    """Change how logs are read.

    Raises:
        ConfigurationError: Nothing to change, or no JSON.
    """
    return _with_changes(endpoints.UPDATE_LOGS_CONFIG, changes)


def _with_changes(endpoint: Endpoint, changes: Mapping[str, JSONValue]) -> Call[dict[str, JSONValue]]:
    if not changes:
        raise ConfigurationError("Nothing was sent: there is nothing to change.")
    return Call(endpoint, encode(dict(changes)), frozenset(changes))


def generate_conversations_public_token() -> Call[Environment]:
    """Replace the public token of the conversations widget."""
    return Call(endpoints.GENERATE_CONVERSATIONS_PUBLIC_TOKEN)


def current_key() -> Call[KeyInfo]:
    """Read the key's own record."""
    return Call(endpoints.CURRENT_KEY)
