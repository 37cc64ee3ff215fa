"""A personal API key's own record."""

from datetime import datetime

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.auth import Secret
from aioposthog_env.models.fields import JSONValue, extra
from aioposthog_env.redacted import printable_half_built


@printable_half_built
@attrs.frozen(kw_only=True)
class KeyInfo:
    """What PostHog tells a key about itself."""

    id: str | UnsetType = UNSET
    label: str | None | UnsetType = UNSET
    value: Secret | None | UnsetType = UNSET
    """Always null here."""
    mask_value: str | None | UnsetType = UNSET
    created_at: datetime | None | UnsetType = UNSET
    last_used_at: datetime | None | UnsetType = UNSET
    """Moves at most hourly."""
    last_rolled_at: datetime | None | UnsetType = UNSET
    user_id: int | None | UnsetType = UNSET
    scopes: list[str] | None | UnsetType = UNSET
    """A key stored without scopes shows ``["*"]``."""
    scoped_teams: list[int] | None | UnsetType = UNSET
    """The environments it is limited to; empty for no limit."""
    scoped_organizations: list[str] | None | UnsetType = UNSET
    extra: dict[str, JSONValue] = extra()
