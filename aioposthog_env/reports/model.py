"""What a report holds: plain data, made from a run or an audit and written in any form. It holds no secret."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias, get_args

import attrs

from aioposthog_env.bulk.outcome import Status
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.policy.rate_limit import SERVER_LIMITS, RateLimit
from aioposthog_env.redacted import printable_half_built
from aioposthog_env.reports.text import shown

Values: TypeAlias = Mapping[str, JSONValue]
"""Setting to value; sensitive ones as ``(secret)``."""


@printable_half_built
@attrs.frozen(kw_only=True)
class ReportChange:
    """One setting that a run has changed, or would.

    Attributes:
        setting: Its name.
        before: Its value before; ``(secret)`` where it is sensitive, ``(not shown)`` where the server showed none.
        after: Its value after; ``(secret)`` where it is sensitive.
        sensitive: Whether the values are left out.
    """

    setting: str
    before: JSONValue
    after: JSONValue
    sensitive: bool = False


@printable_half_built
@attrs.frozen(kw_only=True)
class ReportRow:
    """What became of one environment.

    Attributes:
        host: The origin of its PostHog.
        id: Its id.
        name: Its name; empty where it is not known.
        status: As in ``Outcome``.
        reason: As in ``Outcome``.
        error: What went wrong, as a sentence.
        advice: What to do; None where nothing is to be done.
        attempts: Requests sent for it.
        waited: Seconds spent waiting.
        changes: What was planned to change.
    """

    host: str
    id: int
    name: str
    status: Status
    reason: str | None = None
    error: str | None = None
    advice: str | None = None
    attempts: int = 0
    waited: float = 0.0
    changes: tuple[ReportChange, ...] = ()

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to do something about it."""
        return self.status in ("failed", "unknown") or self.advice is not None


@printable_half_built
@attrs.frozen(kw_only=True)
class DriftRow:
    """The settings of one environment, to be held against what is desired.

    Attributes:
        host: The origin of its PostHog.
        id: Its id.
        name: Its name.
        values: Its settings.
        desired: What is desired of it alone, in place of what the report desires of all.
    """

    host: str
    id: int
    name: str
    values: Values
    desired: Values = attrs.field(factory=dict[str, JSONValue])

    def differing(self, desired: Values) -> tuple[str, ...]:
        """The settings that are not as desired, sorted; one that the server did not show is none of them."""
        wanted = {**desired, **self.desired}
        return tuple(name for name in sorted(wanted) if name in self.values and shown(self.values[name]) != shown(wanted[name]))


@printable_half_built
@attrs.frozen(kw_only=True)
class RequestMark:
    """Requests that were over at the same time.

    Attributes:
        at: Seconds since the start.
        host: The origin that was asked.
        outcome: As in ``AttemptFinished``.
        count: How many there were: 1, or more where a long run was thinned out.
    """

    at: float
    host: str
    outcome: str
    count: int = 1


@printable_half_built
@attrs.frozen(kw_only=True)
class Report:
    """A run or an audit, for the people who look at it later.

    Attributes:
        title: What it is.
        command: How it was started. No secret is in it.
        started: When.
        seconds: How long it took.
        hosts: The origins that were asked.
        rows: Environment by environment, what became of it.
        drift: Environment by environment, its settings.
        desired: The settings that are desired of all, or that most have.
        requests: The requests, in the order of time.
        limits: The rate limits that they are held against, for each host by itself.
        notes: Anything else to know, as sentences.
    """

    title: str
    command: str
    started: datetime
    seconds: float = 0.0
    hosts: tuple[str, ...] = ()
    rows: tuple[ReportRow, ...] = ()
    drift: tuple[DriftRow, ...] = ()
    desired: Values = attrs.field(factory=dict[str, JSONValue])
    requests: tuple[RequestMark, ...] = ()
    limits: tuple[RateLimit, ...] = SERVER_LIMITS
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[Status, int]:
        """How many environments ended in each status."""
        counted = Counter(row.status for row in self.rows)
        return {status: counted[status] for status in get_args(Status)}

    @property
    def done_earlier(self) -> int:
        """How many of those that succeeded an earlier session of the run has done."""
        return sum(row.reason == "done earlier" for row in self.rows)
