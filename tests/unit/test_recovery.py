"""What an environment tells about a call whose answer was lost."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from aioposthog_env.api import endpoints
from aioposthog_env.auth import Secret
from aioposthog_env.models.comparing import digests
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.policy.delivery import Failed, Lost, Refused, Reply
from aioposthog_env.policy.retry import RetryPolicy
from aioposthog_env.recovery import (
    BeforeWrite,
    Comparison,
    Doubt,
    Marks,
    Verdict,
    Watch,
    compare,
    compare_settings,
    created_since,
    handler_is_over,
    how_lost,
    judge,
    marks,
    outcome_unknown,
    watch,
)


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
        ("a", rotated("a", "z"), Comparison.ACT),
        ("a", rotated("b", "a"), Comparison.DONE),
        ("a", rotated("c", "b"), Comparison.CHANGED),
        ("a", rotated(None, None), Comparison.CHANGED),
        ("a", {"token": "a"}, Comparison.ACT),
        ("a", {"token": "b"}, Comparison.DONE),
    ],
)
def test_a_plan_held_against_the_environment(expected: str, now: Marks, plan: Comparison) -> None:
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
    half = Environment(id=1, name="x", secret_api_token=Secret("phs_" + "a" * 40))
    assert marks(endpoints.ROTATE_SECRET_TOKEN, half) is None


def test_only_the_servers_own_500_says_that_the_handler_is_over() -> None:
    assert handler_is_over(Failed(Reply(500, {}, b""), genuine=True))
    assert not handler_is_over(Failed(Reply(500, {}, b"<html>nginx</html>")))
    assert not handler_is_over(Failed(Reply(502, {}, b"")))
    assert not handler_is_over(Refused(Reply(404, {}, b""), genuine=False))
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


def test_how_an_answer_was_lost_in_words() -> None:
    page = "the response was lost: status 502 came with an answer that is not PostHog's"
    assert how_lost(Failed(Reply(502, {}, b""))) == page
    assert how_lost(Failed(Reply(500, {}, b""), genuine=True)) == "PostHog answered 500"
    assert how_lost(Lost("the connection broke")) == "the response was lost: the connection broke"


@pytest.mark.parametrize(
    ("endpoint", "look"),
    [
        ("create", "list the environments and look for the name"),
        ("rotate_secret_token", "the backup is the old secret"),
        ("reset_token", "compare its project token"),
        ("generate_conversations_public_token", "among its conversations settings"),
        ("add_product_intent", "look at its product intents"),
        ("complete_product_onboarding", "look at its product intents"),
        ("delete_secret_token_backup", "retrieve the environment"),
    ],
)
def test_an_unknown_outcome_says_where_to_look(endpoint: str, look: str) -> None:
    error = outcome_unknown(endpoint, ["lost", "after 0.1 s: unchanged", "after 5.0 s: unchanged"])
    assert str(error).endswith(f"{look}.")
    assert "(lost; after 5.0 s: unchanged)" in str(error)
    assert list(error.observations) == ["lost", "after 0.1 s: unchanged", "after 5.0 s: unchanged"]
    assert "(lost)" in str(outcome_unknown(endpoint, ["lost"]))


UTC_ZONE, BERLIN, TOKYO = (TeamSettings(timezone=zone) for zone in ("UTC", "Europe/Berlin", "Asia/Tokyo"))


@pytest.mark.parametrize(
    ("expected", "now", "plan"),
    [
        (UTC_ZONE, UTC_ZONE, Comparison.ACT),
        (UTC_ZONE, BERLIN, Comparison.DONE),
        (UTC_ZONE, TOKYO, Comparison.CHANGED),
        (None, TOKYO, Comparison.ACT),
        (None, BERLIN, Comparison.DONE),
    ],
)
def test_settings_held_against_the_environment(expected: TeamSettings | None, now: TeamSettings, plan: Comparison) -> None:
    known = None if expected is None else digests(expected, ["timezone"])
    assert compare_settings(BERLIN, known, now, "E") is plan


def test_each_setting_that_is_not_as_desired_must_be_as_planned() -> None:
    before = TeamSettings(timezone="UTC", anonymize_ips=False)
    expected = digests(before, ["timezone", "anonymize_ips"])
    wanted = TeamSettings(timezone="Europe/Berlin", anonymize_ips=True)
    for anonymize_ips in (True, False):
        half = TeamSettings(timezone="Asia/Tokyo", anonymize_ips=anonymize_ips)
        assert compare_settings(wanted, expected, half, "E") is Comparison.CHANGED
        half = TeamSettings(timezone="UTC", anonymize_ips=anonymize_ips)
        assert compare_settings(wanted, expected, half, "E") is Comparison.ACT


def test_a_doubt_is_nothing_known_and_no_step_before_a_write_is_taken_unasked() -> None:
    doubt, before = Doubt(before=None, age=0.0), BeforeWrite()
    assert not doubt.happened
    assert not doubt.unsent
    assert not before.read


# Looking after a lost answer, on a virtual clock


class Looks:
    """What each look shows, the last for ever: the secret and its backup, or None where it fails."""

    def __init__(self, *shown: tuple[str | None, str | None] | None, takes: float = 0.0) -> None:
        self._shown = list(shown)
        self._takes = takes
        self.at: list[float] = []

    async def read(self) -> tuple[Environment, Any] | None:
        self.at.append(anyio.current_time())
        await anyio.sleep(self._takes)
        shown = self._shown.pop(0) if len(self._shown) > 1 else self._shown[0]
        if shown is None:
            return None
        if shown == HIDDEN:
            return Environment(id=1, name="x"), "without the secret"
        secret, backup = (None if token is None else Secret(token) for token in shown)
        return Environment(id=1, name="x", secret_api_token=secret, secret_api_token_backup=backup), f"answer {len(self.at)}"

    async def after(self, settle: float) -> Watch:
        """Look, after a rotation from a to b was lost."""
        await anyio.sleep(8.0)  # the clock of an event loop begins anywhere
        began = anyio.current_time()
        before: Marks = {"secret": Secret("a").digest(), "backup": None}
        seen = await watch(endpoints.ROTATE_SECRET_TOKEN, before, self.read, settle)
        self.at = [round(at - began, 3) for at in self.at]
        return seen


SAME, ROTATED, TWICE, HIDDEN = ("a", None), ("b", "a"), ("c", "b"), (None, "hidden")


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("settle", "at"),
    [
        (0.0, [0.0]),
        (10.0, [0.0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 10.0]),
        (20.0, [0.0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3, 20.0]),
    ],
)
async def test_pauses_grow_to_five_seconds_and_the_last_look_is_at_the_settle_time(settle: float, at: list[float]) -> None:
    looks = Looks(SAME)
    seen = await looks.after(settle)
    assert looks.at == at
    assert seen.verdict is Verdict.UNCHANGED
    assert seen.environment == f"answer {len(at)}"
    assert seen.observations[-1].startswith(f"after {settle:.1f} s: unchanged (secret {Secret('a').digest()[:8]}, backup none")


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("shown", "verdict", "word"), [(ROTATED, Verdict.HAPPENED, "happened"), (TWICE, Verdict.UNCLEAR, "unclear")]
)
async def test_a_change_ends_the_looking(shown: tuple[str, str], verdict: Verdict, word: str) -> None:
    looks = Looks(None, HIDDEN, SAME, shown)
    seen = await looks.after(60.0)
    assert looks.at == [0.0, 0.1, 0.3, 0.7]
    assert (seen.verdict, seen.environment) == (verdict, "answer 4")
    assert [one.split(" (")[0] for one in seen.observations] == [
        "after 0.0 s: the environment could not be read",
        "after 0.1 s: the environment could not be read",
        "after 0.3 s: unchanged",
        f"after 0.7 s: {word}",
    ]


@pytest.mark.looptime
async def test_a_failing_look_after_the_settle_time_is_tried_three_times_more() -> None:
    looks = Looks(SAME, None)
    seen = await looks.after(0.15)
    assert looks.at == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert seen.verdict is None
    looks = Looks(SAME, None, None, None, None, SAME)
    seen = await looks.after(0.15)
    assert looks.at == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert seen.verdict is Verdict.UNCHANGED


@pytest.mark.looptime
async def test_a_look_that_began_before_the_settle_time_does_not_tell_that_nothing_has_changed() -> None:
    looks = Looks(SAME, ROTATED, takes=1.0)
    seen = await looks.after(0.5)
    assert looks.at == [0.0, 1.1]
    assert seen.verdict is Verdict.HAPPENED
    assert [one[:11] for one in seen.observations] == ["after 1.0 s", "after 2.1 s"]


@pytest.mark.looptime
async def test_the_time_that_a_look_takes_is_part_of_the_settle_time() -> None:
    looks = Looks(SAME, takes=0.1)
    await looks.after(1.0)
    assert looks.at == [0.0, 0.2, 0.5, 1.0]
