"""The activity log of an environment."""

from datetime import datetime

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.models.fields import JSONValue, extra
from aioposthog_env.redacted import printable_half_built


@attrs.frozen(kw_only=True)
class ActivityUser:
    """Who did it. The system itself has no e-mail address."""

    first_name: str | None | UnsetType = UNSET
    email: str | None | UnsetType = UNSET
    is_system: bool | None | UnsetType = UNSET
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class ActivityChange:
    """One changed field. Secret tokens are masked by the server; project tokens are not."""

    type: str | None | UnsetType = UNSET
    action: str | None | UnsetType = UNSET
    """``created``, ``changed`` or ``deleted``."""
    field: str | None | UnsetType = UNSET
    before: JSONValue | UnsetType = attrs.field(default=UNSET, repr=False)
    after: JSONValue | UnsetType = attrs.field(default=UNSET, repr=False)
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class ActivityDetail:
    """What was changed."""

    changes: list[ActivityChange] | None | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    short_id: str | None | UnsetType = UNSET
    trigger: JSONValue | UnsetType = UNSET
    type: JSONValue | UnsetType = UNSET
    extra: dict[str, JSONValue] = extra()


@printable_half_built
@attrs.frozen(kw_only=True)
class ActivityEntry:
    """One entry of the log."""

    id: str | UnsetType = UNSET
    """Absent on servers of 2024."""
    user: ActivityUser | None | UnsetType = UNSET
    activity: str
    """``created``, ``updated``, ``deleted``, and others."""
    scope: str | UnsetType = UNSET
    """Always ``Team`` here."""
    item_id: str | None | UnsetType = UNSET
    detail: ActivityDetail | None | UnsetType = UNSET
    created_at: datetime
    extra: dict[str, JSONValue] = extra()


@attrs.frozen(kw_only=True)
class ActivityPage:
    """One page of the log, newest first."""

    results: list[ActivityEntry]
    next: str | None = None
    previous: str | None = None
    total_count: int
    extra: dict[str, JSONValue] = extra()
