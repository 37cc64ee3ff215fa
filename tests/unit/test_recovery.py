"""What an environment tells about a call whose answer was lost."""

from datetime import UTC, datetime, timedelta

import pytest

from aioposthog_env.api import endpoints
from aioposthog_env.auth import Secret
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.policy.delivery import Failed, Lost, Reply
from aioposthog_env.policy.retry import RetryPolicy
from aioposthog_env.recovery import Marks, Plan, Verdict, compare, created_since, handler_is_over, judge, marks


def rotated(secret: str | None, backup: str | None) -> Marks:
    return {"secret": secret, "backup": backup}


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (rotated("a", "z"), rotated("b", "a"), Verdict.HAPPENED),
        (rotated("a", None), rotated("b", "a"), Verdict.HAPPENED),
        (rotated(None, None), rotated("b", None), Verdict.HAPPENED),
        (rotated("a", "z"), rotated("a", "z"), Verdict.UNCHANGED),
        (rotated(None, None), rotated(None, None), Verdict.UNCHANGED),
        (rotated("a", "z"), rotated("c", "b"), Verdict.UNCLEAR),  # twice
        (rotated(None, None), rotated("c", "b"), Verdict.UNCLEAR),  # twice, from nothing
        (rotated("a", "z"), rotated("a", None), Verdict.UNCLEAR),  # somebody deleted the backup
        (rotated("a", "z"), rotated(None, "a"), Verdict.UNCLEAR),
        (rotated("a", "z"), rotated("b", None), Verdict.UNCLEAR),  # rotated, and the backup deleted
        ({"token": "a"}, {"token": "b"}, Verdict.HAPPENED),
        ({"token": None}, {"token": "b"}, Verdict.HAPPENED),
        ({"token": "a"}, {"token": "a"}, Verdict.UNCHANGED),
    ],
)
def test_the_verdict(before: Marks, now: Marks, verdict: Verdict) -> None:
    assert judge(before, now) is verdict


@pytest.mark.parametrize(
    ("expected", "now", "plan"),
    [
        ("a", rotated("a", "z"), Plan.ACT),
        ("a", rotated("b", "a"), Plan.DONE),
        ("a", rotated("c", "b"), Plan.CHANGED),
        ("a", rotated(None, None), Plan.CHANGED),
        ("a", {"token": "a"}, Plan.ACT),
        ("a", {"token": "b"}, Plan.DONE),
    ],
)
def test_a_plan_held_against_the_environment(expected: str, now: Marks, plan: Plan) -> None:
    assert compare(expected, now) is plan


def test_the_marks_of_each_call_are_digests() -> None:
    secret, token = Secret("phs_" + "a" * 40), Secret("phc_" + "b" * 40)
    environment = Environment(
        id=1,
        name="x",
        api_token=token,
        secret_api_token=secret,
        secret_api_token_backup=None,
        settings=TeamSettings(conversations_settings={"widget_public_token": "w" * 40}),
    )
    assert marks(endpoints.ROTATE_SECRET_TOKEN, environment) == {"secret": secret.digest(), "backup": None}
    assert marks(endpoints.RESET_TOKEN, environment) == {"token": token.digest()}
    widget = marks(endpoints.GENERATE_CONVERSATIONS_PUBLIC_TOKEN, environment)
    assert widget == {"token": Secret("w" * 40).digest()}
    assert marks(endpoints.ADD_PRODUCT_INTENT, environment) is None


def test_what_is_not_shown_leaves_no_mark() -> None:
    bare = Environment(id=1, name="x")
    for endpoint in (
        endpoints.ROTATE_SECRET_TOKEN,
        endpoints.RESET_TOKEN,
        endpoints.GENERATE_CONVERSATIONS_PUBLIC_TOKEN,
    ):
        assert marks(endpoint, bare) is None
    empty = Environment(id=1, name="x", settings=TeamSettings(conversations_settings=None))
    assert marks(endpoints.GENERATE_CONVERSATIONS_PUBLIC_TOKEN, empty) == {"token": None}


def test_only_the_servers_own_500_says_that_the_handler_is_over() -> None:
    assert handler_is_over(Failed(Reply(500, {}, b"")))
    assert not handler_is_over(Failed(Reply(502, {}, b"")))
    assert not handler_is_over(Lost("gone"))


def test_the_settle_times_that_the_docs_state() -> None:
    policy = RetryPolicy()
    assert (policy.settle_after_500, policy.settle) == (5.0, 60.0)
    assert policy.read_back
    assert not policy.resend_after_settle
    assert RetryPolicy.disabled().read_back


SENT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = SENT + timedelta(seconds=1)
EARLIER = SENT - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("namesakes", "sent", "words"),
    [
        ([], SENT, "created since: none"),
        ([(1, EARLIER), (2, SENT), (3, LATER)], SENT, "created since: 2, 3"),
        ([(1, EARLIER), (2, None)], SENT, "created since: none; at a time that is not known: 2"),
        ([(1, EARLIER), (2, LATER)], None, "environments of that name, perhaps older than the call: 1, 2"),
        ([], None, "perhaps older than the call: none"),
    ],
)
def test_what_a_lost_create_may_have_made(
    namesakes: list[tuple[int, datetime | None]], sent: datetime | None, words: str
) -> None:
    assert created_since(namesakes, sent).endswith(words)
