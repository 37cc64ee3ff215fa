"""What failed, in few words."""

from typing import Any

import pytest

from aioposthog_env import EnvironmentRef, Outcome
from aioposthog_env.cli.failures import what_failed
from aioposthog_env.errors import OutcomeUnknownError, PostHogEnvError, SinkError


def outcome(id: int, status: Any, **more: Any) -> Outcome[Any]:
    return Outcome(ref=EnvironmentRef(id), status=status, **more)


def dead(id: int) -> Outcome[Any]:
    return outcome(id, "failed", error=PostHogEnvError("The key is dead.", endpoint="update", environment_id=id))


def lost(id: int) -> Outcome[Any]:
    return outcome(id, "unknown", error=OutcomeUnknownError("It was lost.").about("delete", id))


@pytest.mark.parametrize(
    ("outcomes", "lines"),
    [
        ([], []),
        ([outcome(1, "succeeded"), outcome(2, "unchanged", reason="already done")], []),
        ([dead(7)], ["7 failed: update of environment 7: The key is dead."]),
        ([dead(3), dead(1), dead(2)], ["1, 2, 3 failed: update: The key is dead."]),
        (
            [dead(id) for id in range(1, 41)],
            ["1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 28 more failed: update: The key is dead."],
        ),
        ([lost(id) for id in range(1, 15)], ["1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 unknown: delete: It was lost."]),
        ([outcome(id, "failed", error=SinkError("It is full.")) for id in (1, 2)], ["1, 2 failed: It is full."]),
        (
            [outcome(2, "skipped", reason="canary"), dead(1)],
            ["1 failed: update of environment 1: The key is dead.", "2 skipped: left alone, since one of the first failed"],
        ),
        (
            [outcome(id, "skipped", reason="canary", error=dead(1).error) for id in (3, 4)],
            ["3, 4 skipped: left alone, since one of the first failed"],
        ),
        ([outcome(id, "skipped", reason="stopped") for id in (1, 2)], ["2 were not begun."]),
        ([outcome(5, "succeeded", not_applied=("a", "b"))], ["5: the server did not take a, b"]),
    ],
)
def test_environments_that_share_a_reason_share_a_line(outcomes: list[Outcome[Any]], lines: list[str]) -> None:
    assert what_failed(outcomes) == lines
