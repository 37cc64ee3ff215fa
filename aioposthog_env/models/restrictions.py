"""Event ingestion restrictions: what the ingestion holds back. PostHog's staff manage them."""

from typing import Literal

import attrs
from msgspec import UNSET, UnsetType

from aioposthog_env.models.fields import JSONValue, extra
from aioposthog_env.redacted import printable_half_built


@printable_half_built
@attrs.frozen(kw_only=True)
class IngestionRestriction:
    """One restriction. An empty filter does not filter; older servers have ``distinct_ids`` only."""

    restriction_type: (
        Literal["skip_person_processing", "drop_event_from_ingestion", "force_overflow_from_ingestion", "redirect_to_dlq"] | str
    )
    distinct_ids: list[str] | None | UnsetType = UNSET
    session_ids: list[str] | None | UnsetType = UNSET
    event_names: list[str] | None | UnsetType = UNSET
    event_uuids: list[str] | None | UnsetType = UNSET
    pipelines: list[str] | None | UnsetType = UNSET
    """``analytics``, ``session_recordings``, and perhaps others."""
    extra: dict[str, JSONValue] = extra()
