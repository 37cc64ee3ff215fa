"""Reports of several runs as one."""

from typing import Any

import pytest

from aioposthog_env import BulkError, BulkReport, Outcome, PostHogEnvError
from aioposthog_env.bulk.outcome import Status
from aioposthog_env.models.environment import EnvironmentRef


def report(*statuses: Status, **options: Any) -> BulkReport[None]:
    return BulkReport(tuple(Outcome(ref=EnvironmentRef(id), status=status) for id, status in enumerate(statuses, 1)), **options)


def test_nothing_is_lost_and_whose_it_is_stays_known() -> None:
    stop = PostHogEnvError("stopped")
    us = report("succeeded", "failed", seconds=3.0, only_counted={"succeeded": 10})
    eu = report("succeeded", "skipped", seconds=5.0, stopped_by=stop, only_counted={"succeeded": 1, "unchanged": 2})
    merged = BulkReport.merge({"us": us, "eu": eu})
    assert len(merged) == 17
    assert merged.counts == {"succeeded": 13, "unchanged": 2, "failed": 1, "unknown": 0, "skipped": 1}
    assert merged.seconds == 5.0
    assert merged.stopped_by is stop
    assert merged.parts == {"us": us, "eu": eu}
    assert [ref.id for ref in merged.parts["eu"].remaining()] == [2]
    with pytest.raises(BulkError, match="2 of 17"):
        merged.raise_for_failures()
    assert len(BulkReport.merge({})) == 0
