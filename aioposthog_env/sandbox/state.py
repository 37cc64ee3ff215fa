"""Everything the embedded PostHog knows: organizations, environments, people, and what they call with."""

import random
import string
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from aioposthog_env.redacted import printable_half_built
from aioposthog_env.sandbox.configs import EXPERIMENTS_CONFIG, LOGS_CONFIG, TRACING_CONFIG
from aioposthog_env.sandbox.eras import EraRules, Nested
from aioposthog_env.sandbox.fields import Row, settings_of

MEMBER: Final = 1
ADMIN: Final = 8
OWNER: Final = 15

_DEFINITIONS: Final = (0, 1, 12)
_LETTERS: Final = string.ascii_letters + string.digits
_BEGINNING: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@printable_half_built
@attrs.define(eq=False)
class SandboxUser:
    """A person.

    Attributes:
        levels: By organization: 1 member, 8 admin, 15 owner.
        two_factor: Whether logging in asks for a second factor.
        current: The environment last opened in the browser.
        two_factor_due: ``setup`` or ``verification``, where the organization demands it before anything else.
        no_access: Environments of the organization that are closed to the person.
        not_editor_of: Settings that the person may not change, and what they would need access to.
    """

    email: str
    password: str
    first_name: str
    levels: dict[str, int]
    two_factor: bool = False
    current: int | None = None
    live_events_token: str | None = None
    two_factor_due: str | None = None
    no_access: list[int] = attrs.field(factory=list[int])
    not_editor_of: dict[str, str] = attrs.field(factory=dict[str, str])


@printable_half_built
@attrs.frozen(kw_only=True)
class Plan:
    """What the organizations have paid for.

    Attributes:
        environments_per_project: The most environments of a project that are no demo, in 2025; None for no limit.
        projects: The most projects of an organization, in the newest generation; None for no limit.
        color_themes: Whether color themes can be chosen; without, ``default_data_theme`` always reads back as null.
        retention: The retention periods that can be chosen; None: the server crashes, as it does without any entitlement.
    """

    environments_per_project: int | None = None
    projects: int | None = None
    color_themes: bool = True
    retention: tuple[str, ...] | None = ("30d", "90d", "1y", "5y")


@attrs.define(eq=False)
class Token:
    """A personal API key or OAuth token. One without scopes is a key of old, stored before there were scopes."""

    value: str
    user: SandboxUser
    scopes: tuple[str, ...]
    projects: tuple[int, ...] = ()
    organizations: tuple[str, ...] = ()
    revoked: bool = False
    expired: bool = False
    id: str = ""


@printable_half_built
@attrs.frozen
class SandboxSession:
    """A logged-in browser: the values of its two cookies."""

    session_id: str
    csrf_token: str


@printable_half_built
@attrs.define(eq=False)
class SandboxEnvironment:
    """An environment as it is stored.

    Attributes:
        event_definitions: How many events it knows. The nested path of 2025 depends on it: with none it answers 404, with
            one as it should, with more 500.
    """

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
    event_definitions: int = 0
    experiments_config: dict[str, Any] = attrs.field(factory=lambda: dict(EXPERIMENTS_CONFIG))
    logs_config: dict[str, Any] = attrs.field(factory=lambda: dict(LOGS_CONFIG))
    tracing_config: dict[str, Any] = attrs.field(factory=lambda: dict(TRACING_CONFIG))
    others: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """What the actions keep that are no settings."""


class State:
    """The whole scene. Every random choice comes from one source, so that a seed gives the same scene again."""

    def __init__(self, rules: EraRules, rng: random.Random) -> None:
        self.rules = rules
        self.rows: Mapping[str, Row] = settings_of(rules.letter, rules.lacks)
        self.plan: Plan = Plan()
        self.keys_for_admins_only = False
        self.nested_only = False
        self.rng = rng
        self.environments: dict[int, SandboxEnvironment] = {}
        self.users: list[SandboxUser] = []
        self.tokens: dict[str, Token] = {}
        self.sessions: dict[str, tuple[str, SandboxUser]] = {}
        self.secrets: set[str] = set()
        self.effects: Counter[tuple[str, int]] = Counter()
        self.next_id: int = 1
        self.clock: datetime = _BEGINNING
        self.served = False

    @property
    def nested(self) -> Nested:
        """What the nested path answers."""
        return "as documented" if self.nested_only else self.rules.nested

    def now(self) -> datetime:
        """A time that moves on with every use, so that nothing happens at the same time.

        While the scene is made, the same times with every seed; once it is served, the real ones.
        """
        self.clock += timedelta(milliseconds=37)
        if self.served:
            self.clock = max(self.clock, datetime.now(UTC))
        return self.clock

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
        self,
        organization: str,
        *,
        name: str,
        project_id: int | None = None,
        event_definitions: int | None = None,
        **settings: Any,
    ) -> SandboxEnvironment:
        """A new environment, in a project of its own unless one is named.

        Without a number of event definitions it has one, many or none, in turn.
        """
        number = self.next_id
        self.next_id += 1
        known = {field: row.new() for field, row in self.rows.items()}
        known["primary_dashboard"] = number  # each environment has one dashboard, with its own id
        has_secret = "rotate_secret_token" in self.rules.endpoints and (not self.rules.mints_secret or bool(number % 3))
        environment = SandboxEnvironment(
            id=number,
            project_id=number if project_id is None else project_id,
            organization=organization,
            uuid=self.unique_id(),
            settings=known | {"name": name} | settings,
            api_token=self.secret("phc_"),
            secret_api_token=self.secret("phs_") if has_secret else None,
            event_definitions=_DEFINITIONS[number % 3] if event_definitions is None else event_definitions,
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

    def live_events_token(self, user: SandboxUser) -> str:
        """A token for the live stream: since 2026 one per person for a day, before that a new one each time."""
        if self.rules.letter != "D":
            return self.secret("eyJ", 60)
        if user.live_events_token is None:
            user.live_events_token = self.secret("eyJ", 60)
        return user.live_events_token

    def log(self, environment: SandboxEnvironment, user: SandboxUser, activity: str, changes: list[dict[str, Any]]) -> None:
        """Write an entry of the activity log, newest first."""
        entry: dict[str, Any] = {"id": self.unique_id()} if self.rules.activity_ids else {}
        entry |= {
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
