"""What hooks and the log are told, and that none of it is a secret."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aioposthog_env import PersonalAPIKey, RateLimit, RateLimiter, Sandbox, TeamSettings
from aioposthog_env.telemetry import AttemptFinished, DeprecationSeen, Event, LimiterWaited, RetryScheduled, StyleFound
from tests.conftest import connect, logged_in


@contextmanager
def everything_logged() -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logging.Formatter().format(record))

    log, keep = logging.getLogger("aioposthog_env"), Keep()
    before = log.level
    log.addHandler(keep)
    log.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        log.removeHandler(keep)
        log.setLevel(before)


async def test_what_hooks_are_told() -> None:
    events: list[Event] = []
    async with Sandbox(2) as sandbox, connect(sandbox, "project:read", hooks=[events.append]) as environments:
        sandbox.answer_next("retrieve", 502)
        await environments.retrieve(1)
    finished = [event for event in events if isinstance(event, AttemptFinished)]
    assert {event.outcome for event in finished} == {"answered", "failed"}
    assert {event.environment_id for event in finished} == {1, None}
    assert [type(event).__name__ for event in events].count("StyleFound") == 1
    assert any(isinstance(event, StyleFound) and event.era == "current" for event in events)


async def test_the_end_of_a_path_is_reported_once_through_log_and_hooks_and_the_successor_is_used() -> None:
    events: list[Event] = []
    with everything_logged() as lines:
        async with Sandbox(3) as sandbox, connect(sandbox, hooks=[events.append]) as environments:
            for id in (1, 2, 3):
                await environments.retrieve(id)
            paths = [call.path for call in sandbox.calls if call.endpoint == "retrieve"]
    assert paths == ["/api/environments/1/", "/api/projects/2/", "/api/projects/3/"]
    assert [event for event in events if isinstance(event, DeprecationSeen)] == [
        DeprecationSeen(
            path="/api/environments/{id}/",
            successor="/api/projects/{id}/",
            sunset="Fri, 31 Jul 2026 00:00:00 GMT",
            followed=True,
        )
    ]
    assert len([line for line in lines if "announces the end of /api/environments/{id}/" in line]) == 1


async def test_a_path_that_was_chosen_stays_although_its_end_is_announced() -> None:
    events: list[Event] = []
    async with Sandbox(2) as sandbox, connect(sandbox, routes="root", hooks=[events.append]) as environments:
        await environments.retrieve(1)
        await environments.retrieve(2)
        assert {call.path for call in sandbox.calls if call.endpoint == "retrieve"} == {
            "/api/environments/1/",
            "/api/environments/2/",
        }
    assert [event.followed for event in events if isinstance(event, DeprecationSeen)] == [False]


async def test_waiting_for_the_limit_is_told() -> None:
    events: list[Event] = []
    async with Sandbox(1) as sandbox:
        options = {"limiter": RateLimiter((RateLimit(1, 0.1),)), "routes": "project", "enforce_scopes": False}
        async with connect(sandbox, hooks=[events.append], **options) as environments:
            await environments.retrieve(1)
            await environments.retrieve(1)
    (waited,) = [event for event in events if isinstance(event, LimiterWaited)]
    assert waited.seconds == pytest.approx(0.1, abs=0.08)
    assert (waited.endpoint, waited.environment_id) == ("retrieve", 1)


async def test_a_hook_that_fails_disturbs_nothing_and_is_logged() -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    with everything_logged() as lines:
        async with Sandbox(1) as sandbox, connect(sandbox, hooks=[broken]) as environments:
            assert (await environments.retrieve(1)).id == 1
    assert any("A telemetry hook failed" in line for line in lines)


async def test_no_secret_in_any_event_log_line_repr_or_error() -> None:
    events: list[Event] = []
    shown: list[str] = []
    with everything_logged() as lines:
        async with Sandbox(4) as sandbox:
            key = PersonalAPIKey(sandbox.key())
            async with (
                connect(sandbox, auth=key, hooks=[events.append]) as environments,
                logged_in(sandbox, hooks=[events.append]) as session,
            ):
                shown.append(repr(key))
                shown.append(repr(await environments.retrieve(1)))
                shown.append(repr(await session.rotate_secret_token(1)))
                shown.append(repr([entry async for entry in session.activity(1)]))
                for name in ("a", "b"):
                    sandbox.answer_next(None, 502)
                    shown.append(repr(await environments.update(2, TeamSettings(name=name))))
                sandbox.revoke(key.value.reveal())
                report = await environments.each([1, 2]).retrieve()
                shown += [repr(report), str(report), *(str(one.error) for one in report)]
            public = {sandbox.environment(id).api_token for id in sandbox.environment_ids}
            secrets = sandbox.secrets - public
    assert any(isinstance(event, RetryScheduled) for event in events)
    text = "\n".join([*lines, *map(repr, events), *shown])
    assert [secret for secret in secrets if secret in text] == []
