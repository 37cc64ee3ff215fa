"""Retry-After in all its forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioposthog_env.policy.retry_after import LONGEST, parse_retry_after

NOW = "Tue, 24 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("27", 27.0),
        (" 0.5 ", 0.5),
        ("0", 0.0),
        ("Tue, 24 Nov 2026 10:01:30 GMT", 90.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 +0200", 30.0),
        ("Tue, 24 Nov 2026 10:00:05 -0000", 5.0),
        ("604799", 604_799.0),
        ("604801", 604_800.0),  # a week is the longest
        ("9" * 400, LONGEST),
        ("-3", None),
        ("+3", None),
        ("1_0", None),
        ("1e1", None),
        ("0x10", None),
        (".5", None),
        ("5.", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("٣", None),
        ("Tue, 2_4 Nov 2026 10:01:30 GMT", None),
        ("Tue, ٢٤ Nov 2026 10:01:30 GMT", None),
        ("Mon, 99 Foo 20xx", None),
    ],
)
def test_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, date=NOW) == seconds


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_date_is_read_against_the_answers_own_date_only(date: str | None) -> None:
    assert parse_retry_after("Tue, 24 Nov 2026 10:01:30 GMT", date=date) is None


@given(st.text(), st.none() | st.text())
def test_nonsense_never_raises_and_never_gives_an_endless_wait(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date=date)

    assert seconds is None or 0.0 <= seconds <= LONGEST
