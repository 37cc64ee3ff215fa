"""Everything the embedded PostHog knows: organizations, environments, people, and what they call with."""

import random
import string
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from aioposthog_env.sandbox.eras import EraRules
from aioposthog_env.sandbox.fields import ROWS

MEMBER: Final = 1
ADMIN: Final = 8
OWNER: Final = 15

_LETTERS: Final = string.ascii_letters + string.digits
_BEGINNING: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@attrs.define(eq=False)
class SandboxUser:
    """A person.

    Attributes:
        levels: By organization: 1 member, 8 admin, 15 owner.
        two_factor: Whether logging in asks for a second factor.
        current: The environment last opened in the browser.
    """

    email: str
    password: str
    first_name: str
    levels: dict[str, int]
    two_factor: bool = False
    current: int | None = None


@attrs.define(eq=False)
class Token:
    """A personal API key or OAuth token."""

    value: str
    user: SandboxUser
    scopes: tuple[str, ...]
    projects: tuple[int, ...] = ()
    organizations: tuple[str, ...] = ()
    revoked: bool = False
    id: str = ""


@attrs.frozen
class SandboxSession:
    """A logged-in browser: the values of its two cookies."""

    session_id: str
    csrf_token: str


@attrs.define(eq=False)
class SandboxEnvironment:
    """An environment as it is stored."""

    id: int
    project_id: int
    organization: str
    uuid: str
    settings: dict[str, Any]
    api_token: str
    secret_api_token: str | None
    secret_api_token_backup: str | None = None
    created_at: datetime = _BEGINNING
    updated_at: datetime = _BEGINNING
    product_intents: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    restrictions: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    activity: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    generating_demo_data: bool = False
    pending_deletion: bool = False


class State:
    """The whole scene. Every random choice comes from one source, so that a seed gives the same scene again."""

    def __init__(self, rules: EraRules, rng: random.Random) -> None:
        self.rules = rules
        self.rng = rng
        self.environments: dict[int, SandboxEnvironment] = {}
        self.users: list[SandboxUser] = []
        self.tokens: dict[str, Token] = {}
        self.sessions: dict[str, tuple[str, SandboxUser]] = {}
        self.secrets: set[str] = set()
        self.effects: Counter[tuple[str, int]] = Counter()
        self._next_id = 1
        self._clock = _BEGINNING

    def now(self) -> datetime:
        """A time that moves on with every use, so that nothing happens at the same time."""
        self._clock += timedelta(milliseconds=37)
        return self._clock

    def secret(self, prefix: str, length: int = 43) -> str:
        """A new secret value; all of them are kept, so that a test can look for them where they must not be."""
        value = prefix + "".join(self.rng.choices(_LETTERS, k=length))
        self.secrets.add(value)
        return value

    def unique_id(self) -> str:
        """A UUID."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def add_user(self, name: str, levels: dict[str, int], *, two_factor: bool = False) -> SandboxUser:
        """A new person."""
        user = SandboxUser(f"{name.lower()}@example.com", self.secret("pw-", 16), name, levels, two_factor)
        self.users.append(user)
        return user

    def add_environment(
        self, organization: str, *, name: str, project_id: int | None = None, **settings: Any
    ) -> SandboxEnvironment:
        """A new environment, in a project of its own unless one is named."""
        number = self._next_id
        self._next_id += 1
        known = {field: row.new() for field, row in ROWS.items() if self.rules.letter in row.eras}
        has_secret = not self.rules.mints_secret or bool(number % 3)
        environment = SandboxEnvironment(
            id=number,
            project_id=number if project_id is None else project_id,
            organization=organization,
            uuid=self.unique_id(),
            settings=known | {"name": name} | settings,
            api_token=self.secret("phc_"),
            secret_api_token=self.secret("phs_") if has_secret else None,
            created_at=self.now(),
            updated_at=self.now(),
        )
        self.environments[number] = environment
        return environment

    def add_token(self, prefix: str, user: SandboxUser, scopes: tuple[str, ...], **limits: Any) -> Token:
        """A new key or token."""
        token = Token(self.secret(prefix), user, scopes, id=self.unique_id(), **limits)
        self.tokens[token.value] = token
        return token

    def add_session(self, user: SandboxUser) -> SandboxSession:
        """A new login."""
        session = SandboxSession(self.secret("", 32), self.secret("", 32))
        self.sessions[session.session_id] = session.csrf_token, user
        return session

    def visible_to(self, user: SandboxUser) -> list[SandboxEnvironment]:
        """The environments of the person's organizations."""
        return [one for one in self.environments.values() if one.organization in user.levels]

    def log(self, environment: SandboxEnvironment, user: SandboxUser, activity: str, changes: list[dict[str, Any]]) -> None:
        """Write an entry of the activity log, newest first."""
        entry = {
            "id": self.unique_id(),
            "user": {"first_name": user.first_name, "email": user.email},
            "activity": activity,
            "scope": "Team",
            "item_id": str(environment.id),
            "detail": {
                "changes": changes or None,
                "trigger": None,
                "name": environment.settings["name"],
                "short_id": None,
                "type": None,
            },
            "created_at": moment(self.now()),
        }
        environment.activity.insert(0, entry)


def moment(at: datetime) -> str:
    """A time as the server writes it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def masked(secret: str | None) -> str | None:
    """A secret as the activity log shows it."""
    return None if secret is None else f"{secret[:4]}...{secret[-4:]}"


_MODIFIERS: Final = {
    "bounceRatePageViewMode": "count_pageviews",
    "dataWarehouseEventsModifiers": None,
    "debug": None,
    "inCohortVia": "auto",
    "materializationMode": "legacy_null_as_null",
    "optimizeJoinedFilters": False,
    "personsArgMaxVersion": "auto",
    "personsOnEventsMode": "person_id_override_properties_joined",
}


def full_payload(state: State, environment: SandboxEnvironment, user: SandboxUser, *, early_project: bool) -> dict[str, Any]:
    """The full payload, as this caller sees it.

    Args:
        state: The scene.
        environment: The environment.
        user: The caller.
        early_project: Whether it goes out through the project style of 2025, which shows fewer fields.
    """
    level = user.levels[environment.organization]
    payload: dict[str, Any] = {
        "id": environment.id,
        "uuid": environment.uuid,
        "organization": environment.organization,
        "api_token": environment.api_token,
        "created_at": moment(environment.created_at),
        "updated_at": moment(environment.updated_at),
        "access_control": False,
        "ingested_event": False,
        "default_modifiers": dict(_MODIFIERS),
        "person_on_events_querying_enabled": True,
        "effective_membership_level": level,
        "has_group_types": False,
        "live_events_token": state.secret("eyJ", 60),
        "product_intents": environment.product_intents,
    }
    if not early_project:
        payload |= {
            "project_id": environment.project_id,
            "secret_api_token": environment.secret_api_token,
            "secret_api_token_backup": environment.secret_api_token_backup,
            "user_access_level": "admin" if level >= ADMIN else "member",
            "group_types": [],
            "managed_viewsets": {"revenue_analytics": False},
        }
    if state.rules.letter == "D":
        payload |= {
            "available_setup_task_ids": ["ingest_first_event", "create_first_insight"],
            "event_retention_months": 84,
            "events_retention_enforced": False,
            "product_description": None,
            "is_pending_deletion": environment.pending_deletion,
        }
    shown = {name: value for name, value in environment.settings.items() if not early_project or ROWS[name].early}
    return payload | shown


def summary(environment: SandboxEnvironment, *, early_project: bool) -> dict[str, Any]:
    """What the list shows."""
    item = {
        "id": environment.id,
        "uuid": environment.uuid,
        "organization": environment.organization,
        "project_id": environment.project_id,
        "api_token": environment.api_token,
        "name": environment.settings["name"],
        "completed_snippet_onboarding": environment.settings["completed_snippet_onboarding"],
        "has_completed_onboarding_for": environment.settings["has_completed_onboarding_for"],
        "ingested_event": False,
        "is_demo": environment.settings["is_demo"],
        "timezone": environment.settings["timezone"],
        "access_control": False,
    }
    if early_project:
        del item["project_id"]
    return item
