"""What a worker hands back to another process pickles, and leaves the secrets behind."""

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from aioposthog_env import (
    UNSET,
    Environment,
    OAuthToken,
    OutcomeUnknownError,
    PersonalAPIKey,
    RateLimiter,
    RetryPolicy,
    Sandbox,
    Selection,
    SessionCookie,
    SettingsNotAppliedError,
    TeamSettings,
    Timeout,
    Where,
)
from aioposthog_env.models.configs import SessionRecordingLinkedFlag
from aioposthog_env.models.converter import decode
from aioposthog_env.reports import Report
from aioposthog_env.reports.rows import rows_of
from aioposthog_env.telemetry import Event
from tests.conftest import connect, logged_in

WEBHOOK = "https://hooks.slack.example/services/T000/B000/abcdefghijklmnop"


async def test_outcomes_reports_plans_and_models_pickle_without_a_secret() -> None:
    events: list[Event] = []
    made: list[Any] = []
    async with Sandbox(4) as sandbox, logged_in(sandbox, hooks=[events.append]) as session:
        sandbox.answer_next("update", 400)
        made.append(report := await session.each([1, 2, 99], concurrency=1).update(TeamSettings(timezone="Asia/Tokyo")))
        made += [*report, *(one.error for one in report if one.error is not None)]
        made.append(await session.each([1, 2]).rotate_secret_token())
        made.append(await session.each([1, 2], keep="counts").retrieve())
        sandbox.fault("drop_unread", "reset_token")
        with pytest.raises(OutcomeUnknownError) as unknown:
            await session.reset_token(3)
        made += [unknown.value, *events]
        made += [await session.retrieve(1), [one async for one in session.list()], [one async for one in session.activity(1)]]
        made.append(await session.event_ingestion_restrictions(1))
        plan = await session.plan(TeamSettings(slack_incoming_webhook=WEBHOOK, timezone="UTC"), [3, 4])
        made += [plan, *plan, *plan.environments[0].changes]
        made.append(await session.apply(plan))
        made += [
            await session.select(Selection(where=Where.parse("timezone == 'UTC'"))),
            Selection(names=["*"], where=Where.parse("id > 1")),
        ]
        made.append(SettingsNotAppliedError(fields=["timezone"], environment=await session.retrieve(3)))
        made.append(Report(title="", command="", started=datetime.now(UTC), rows=rows_of(report, sandbox.url, plan=plan)))
        async with connect(sandbox) as environments:
            made.append(await environments.check_access(of=[1]))
        secrets = {*sandbox.secrets, WEBHOOK} - {sandbox.environment(id).api_token for id in sandbox.environment_ids}
    kinds = {type(one).__name__ for one in made}
    assert kinds >= {"BulkReport", "Outcome", "Plan", "EnvironmentPlan", "FieldChange", "AccessReport", "Environment"}
    for one in made:
        for protocol in (2, pickle.HIGHEST_PROTOCOL):
            stored = pickle.dumps(one, protocol)
            assert [secret for secret in secrets if secret.encode() in stored] == []
            assert repr(pickle.loads(stored)) == repr(one)


FUTURE = "phs_" + "f" * 40
KEPT = TeamSettings(slack_incoming_webhook=WEBHOOK, conversations_settings={"widget_public_token": "t" * 30})


def with_unknown_fields() -> Environment:
    """An environment of a newer server, with a secret that this version does not know, on several levels."""
    linked = {"id": 1, "key": "flag", "future_secret": FUTURE}
    payload = {"id": 1, "name": "Mine", "future_secret": FUTURE, "session_recording_linked_flag": linked}
    return decode(json.dumps(payload).encode(), Environment)


def test_pickles_leave_out_what_this_version_does_not_know() -> None:
    environment = with_unknown_fields()
    assert environment.extra == {"future_secret": FUTURE}
    for one in (environment, Environment(id=1, name="Mine", extra={"future_secret": FUTURE}), [environment], environment.extra):
        for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
            assert FUTURE.encode() not in pickle.dumps(one, protocol)
    back = pickle.loads(pickle.dumps(environment))
    assert back == attrs.evolve(environment, extra={}, settings=back.settings)
    assert back.extra == {}
    assert back.settings.session_recording_linked_flag == SessionRecordingLinkedFlag(id=1, key="flag")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_secrets_and_what_this_version_does_not_know(copied: Callable[[Any], Any]) -> None:
    environment = with_unknown_fields()
    assert copied(environment) == environment
    assert copied(environment).extra == {"future_secret": FUTURE}
    assert copied(environment.extra) == environment.extra
    assert copied(KEPT) == KEPT
    assert copied(KEPT).slack_incoming_webhook.reveal() == WEBHOOK


def test_what_this_version_does_not_know_is_shown_by_its_keys() -> None:
    environment = with_unknown_fields()
    assert FUTURE not in f"{environment!r} {environment.extra!r} {[environment.extra]}"
    assert "extra={'future_secret': …}" in repr(environment)


@pytest.mark.parametrize(
    "configuration",
    [
        RetryPolicy(settle=30),
        Timeout(connect=1),
        TeamSettings(timezone="UTC"),
        Selection(ids=[1, 2]),
        Where.parse("anonymize_ips and timezone == 'UTC'"),
        UNSET,
    ],
    ids=lambda one: type(one).__name__,
)
def test_configuration_pickles_as_it_is(configuration: object) -> None:
    assert pickle.loads(pickle.dumps(configuration)) == configuration


async def test_the_statistics_of_a_limiter_pickle() -> None:
    seen = RateLimiter().statistics()
    assert pickle.loads(pickle.dumps(seen)) == seen


@pytest.mark.parametrize(
    "credential",
    [PersonalAPIKey("phx_" + "k" * 40), OAuthToken("pha_" + "o" * 40), SessionCookie("s" * 32, "c" * 32)],
    ids=lambda one: type(one).__name__,
)
def test_a_credential_leaves_its_value_behind_and_says_so(credential: Any) -> None:
    stored = pickle.dumps(credential)
    assert all(letter * 12 not in stored.decode("latin-1") for letter in "kosc")
    copy = pickle.loads(stored)
    assert repr(copy) == repr(credential)
    with pytest.raises(Exception, match="pickling drops the value"):
        copy.headers(unsafe=True, origin="https://us.posthog.com")
