"""The endpoint table: every operation this library knows, one row each.

Client and sandbox read the same rows. A row holds facts only: the verb, the path below the environment (the URL style
puts the rest in front, see ``routes``), the scope a token needs, whether the call may be repeated after a lost answer,
the statuses that mean success, and what the body of a success holds.

The repeat rule belongs to the endpoint and not to the verb. ``PATCH`` of settings may be repeated freely; ``PATCH
rotate_secret_token`` twice throws away the secret that deployed services still use.
"""

import enum
from typing import Final, Literal, TypeAlias

import attrs

Verb: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Repeat(enum.Enum):
    """What may follow when the answer of a call was lost."""

    SAFE = "safe"
    """The same call again leads to the same state."""
    ABSORBING = "absorbing"
    """The same call again finds the work done, and the server says so with an error that means success."""
    NEVER = "never"
    """The same call again changes something once more."""


class ReplyKind(enum.Enum):
    """What the body of a successful reply holds."""

    ENVIRONMENT = "environment"
    ENVIRONMENT_PAGE = "page of environments"
    ACTIVITY_PAGE = "page of activity"
    RESTRICTIONS = "event ingestion restrictions"
    DEMO_DATA = "demo data flag"
    KEY = "personal API key"
    SETTINGS = "some settings"
    CONFIG = "config"
    NOTHING = "nothing"


class Target(enum.Enum):
    """What the path names."""

    COLLECTION = "collection"
    ENVIRONMENT = "environment"
    KEY = "key"


@attrs.frozen(kw_only=True)
class Endpoint:
    """One operation of PostHog's API."""

    name: str
    verb: Verb
    suffix: str = ""
    """The path below the environment, for example ``rotate_secret_token/``."""
    target: Target = Target.ENVIRONMENT
    scope: str | None
    """The scope that a personal API key or OAuth token needs. None: the action publishes no scope."""
    repeat: Repeat
    success: frozenset[int] = frozenset({200})
    reply: ReplyKind = ReplyKind.ENVIRONMENT
    destroys: bool = False
    """Whether a call through the project style would act on the whole project."""

    @property
    def reads(self) -> bool:
        """Whether the call changes nothing."""
        return self.verb == "GET"

    @property
    def publishes_scope(self) -> bool:
        """Whether tokens are accepted at all. An action without a scope takes a session only."""
        return self.scope is not None or self.target is Target.KEY


READ: Final = "project:read"
WRITE: Final = "project:write"

LIST: Final = Endpoint(
    name="list",
    verb="GET",
    target=Target.COLLECTION,
    scope=READ,
    repeat=Repeat.SAFE,
    reply=ReplyKind.ENVIRONMENT_PAGE,
)
CREATE: Final = Endpoint(
    name="create",
    verb="POST",
    target=Target.COLLECTION,
    scope=WRITE,
    repeat=Repeat.NEVER,
    success=frozenset({201}),
)
RETRIEVE: Final = Endpoint(name="retrieve", verb="GET", scope=READ, repeat=Repeat.SAFE)
UPDATE: Final = Endpoint(name="update", verb="PATCH", scope=WRITE, repeat=Repeat.SAFE)
DELETE: Final = Endpoint(
    name="delete",
    verb="DELETE",
    scope=WRITE,
    repeat=Repeat.ABSORBING,
    success=frozenset({204}),
    reply=ReplyKind.NOTHING,
    destroys=True,
)
ACTIVITY: Final = Endpoint(
    name="activity",
    verb="GET",
    suffix="activity/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.ACTIVITY_PAGE,
)
ADD_PRODUCT_INTENT: Final = Endpoint(
    name="add_product_intent",
    verb="PATCH",
    suffix="add_product_intent/",
    scope=READ,
    repeat=Repeat.NEVER,
    success=frozenset({201}),
)
COMPLETE_PRODUCT_ONBOARDING: Final = Endpoint(
    name="complete_product_onboarding",
    verb="PATCH",
    suffix="complete_product_onboarding/",
    scope=READ,
    repeat=Repeat.NEVER,
)
DELETE_SECRET_TOKEN_BACKUP: Final = Endpoint(
    name="delete_secret_token_backup",
    verb="PATCH",
    suffix="delete_secret_token_backup/",
    scope=None,
    repeat=Repeat.SAFE,
)
EVENT_INGESTION_RESTRICTIONS: Final = Endpoint(
    name="event_ingestion_restrictions",
    verb="GET",
    suffix="event_ingestion_restrictions/",
    scope=READ,
    repeat=Repeat.SAFE,
    reply=ReplyKind.RESTRICTIONS,
)
IS_GENERATING_DEMO_DATA: Final = Endpoint(
    name="is_generating_demo_data",
    verb="GET",
    suffix="is_generating_demo_data/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.DEMO_DATA,
)
RESET_TOKEN: Final = Endpoint(
    name="reset_token",
    verb="PATCH",
    suffix="reset_token/",
    scope=None,
    repeat=Repeat.NEVER,
)
ROTATE_SECRET_TOKEN: Final = Endpoint(
    name="rotate_secret_token",
    verb="PATCH",
    suffix="rotate_secret_token/",
    scope=None,
    repeat=Repeat.NEVER,
)
SETTINGS_AS_OF: Final = Endpoint(
    name="settings_as_of",
    verb="GET",
    suffix="settings_as_of/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.SETTINGS,
)
EXPERIMENTS_CONFIG: Final = Endpoint(
    name="experiments_config",
    verb="GET",
    suffix="experiments_config/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.CONFIG,
)
UPDATE_EXPERIMENTS_CONFIG: Final = Endpoint(
    name="update_experiments_config",
    verb="PATCH",
    suffix="experiments_config/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.CONFIG,
)
LOGS_CONFIG: Final = Endpoint(
    name="logs_config",
    verb="GET",
    suffix="logs_config/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.CONFIG,
)
UPDATE_LOGS_CONFIG: Final = Endpoint(
    name="update_logs_config",
    verb="PATCH",
    suffix="logs_config/",
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.CONFIG,
)
GENERATE_CONVERSATIONS_PUBLIC_TOKEN: Final = Endpoint(
    name="generate_conversations_public_token",
    verb="POST",
    suffix="generate_conversations_public_token/",
    scope=None,
    repeat=Repeat.NEVER,
)
CURRENT_KEY: Final = Endpoint(
    name="current_key",
    verb="GET",
    target=Target.KEY,
    scope=None,
    repeat=Repeat.SAFE,
    reply=ReplyKind.KEY,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    LIST,
    CREATE,
    RETRIEVE,
    UPDATE,
    DELETE,
    ACTIVITY,
    ADD_PRODUCT_INTENT,
    COMPLETE_PRODUCT_ONBOARDING,
    DELETE_SECRET_TOKEN_BACKUP,
    EVENT_INGESTION_RESTRICTIONS,
    IS_GENERATING_DEMO_DATA,
    RESET_TOKEN,
    ROTATE_SECRET_TOKEN,
    SETTINGS_AS_OF,
    EXPERIMENTS_CONFIG,
    UPDATE_EXPERIMENTS_CONFIG,
    LOGS_CONFIG,
    UPDATE_LOGS_CONFIG,
    GENERATE_CONVERSATIONS_PUBLIC_TOKEN,
    CURRENT_KEY,
)
