"""The ``Retry-After`` header in all its forms: seconds, an HTTP date, or nonsense; and dates in headers."""

import re
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
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST)
    there, now = http_date(text), http_date(date)
    if there is None or now is None:
        return None
    return min(max((there - now).total_seconds(), 0.0), LONGEST)


_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
"""The HTTP standard has whole seconds; some servers send fractions. ``float`` alone would take ``1_0`` for 10."""


def http_date(text: str | None) -> datetime | None:
    """The moment that a header names; None where that is missing or no date that a calendar has."""
    if text is None or not text.isascii() or "_" in text:
        return None  # `int`, which reads the numbers of a date, takes more than digits
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    # A date without a zone is GMT by the HTTP standard.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
