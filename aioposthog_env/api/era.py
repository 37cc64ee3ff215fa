"""Which generation of PostHog answers, from what was seen.

No PostHog tells its version to an API key. What it sends tells enough: fields that a generation has and the ones before
do not, a path that is refused, a header that announces the end of a path. Unknown until something was seen, and then
everything that depends on the era takes the most careful choice.
"""

import enum
from collections.abc import Collection
from typing import Final


class Era(enum.Enum):
    """A generation of PostHog, oldest first."""

    UNKNOWN = ""
    A = "2024-10"
    B = "2025-11"
    C = "2026-spring"
    D = "current"

    @property
    def rank(self) -> int:
        """Larger means newer."""
        return _ORDER.index(self)


_ORDER: Final = (Era.UNKNOWN, Era.A, Era.B, Era.C, Era.D)

_ONLY_SINCE: Final = (
    (Era.D, frozenset({"is_pending_deletion"})),
    (
        Era.C,
        frozenset({"available_setup_task_ids", "default_evaluation_contexts_enabled", "receive_org_level_activity_logs"}),
    ),
    (Era.B, frozenset({"secret_api_token", "capture_dead_clicks"})),
)


def null_dashboard_crashes(fields: Collection[str], *, whole: bool) -> bool:
    """Return whether a full environment payload proves that ``primary_dashboard: null`` is a 500 there.

    It is one in PostHog 2024-10 and 2025-08. The copy of 2025-11 has it mended, and is told by a setting that came before.

    Args:
        fields: The payload's keys.
        whole: As for ``era_of_payload``.
    """
    return whole and "session_recording_retention_period" not in fields and era_of_payload(fields, whole=True) in {Era.A, Era.B}


def era_of_payload(fields: Collection[str], *, whole: bool) -> Era:
    """The era that a full environment payload proves.

    Args:
        fields: The payload's keys.
        whole: Whether it came from a path that shows all fields. On older servers the project path shows fewer, so
            what is missing there proves nothing.
    """
    for era, marks in _ONLY_SINCE:
        if not marks.isdisjoint(fields):
            return era
    return Era.A if whole else Era.UNKNOWN
