"""The ``Retry-After`` header in all its forms: seconds, an HTTP date, or nonsense; and dates in headers."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 7 * 86_400.0
"""Longer waits are taken for nonsense in the header and cut to this; it is far beyond any ceiling."""


def parse_retry_after(value: str | None, *, date: str | None) -> float | None:
    """Seconds to wait, or None where the header says nothing usable.

    A date is read against the answer's own ``Date`` header, so that a wrong clock on this machine does not matter;
    without that header a date says nothing.

    Args:
        value: The header's value.
        date: The answer's ``Date`` header.
    """
    text = (value or "").strip()
    if not text:
        return None
    try:
        seconds = float(text) if text.isascii() else float("nan")
    except ValueError:
        there, now = http_date(text), http_date(date)
        if there is None or now is None:
            return None
        seconds = (there - now).total_seconds()
    if seconds != seconds:
        return None
    return min(max(seconds, 0.0), LONGEST)


def http_date(text: str | None) -> datetime | None:
    """The moment that a header names; None where that is missing or no date that a calendar has."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, IndexError, OverflowError):
        return None
    # A date without a zone is GMT by the HTTP standard.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
