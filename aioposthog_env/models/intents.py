"""Product intents: products that somebody showed an interest in."""

from datetime import datetime

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.models.fields import JSONValue, extra
from aioposthog_env.redacted import printable_half_built


@printable_half_built
@attrs.frozen(kw_only=True)
class ProductIntent:
    """An interest in a product, as the environment's payload lists it."""

    product_type: str
    created_at: datetime | None | UnsetType = UNSET
    onboarding_completed_at: datetime | None | UnsetType = UNSET
    updated_at: datetime | None | UnsetType = UNSET
    """Since 2025."""
    extra: dict[str, JSONValue] = extra()
