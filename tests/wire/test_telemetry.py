"""What hooks and the log are told, and that none of it is a secret."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
import pytest

from aioposthog_env import (
    AsyncEnvironments,
    OutcomeUnknownError,
    PersonalAPIKey,
    PostHogEnvError,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    Sandbox,
    SessionCookie,
    TeamSettings,
)
from aioposthog_env.telemetry import (
    AttemptFinished,
    AttemptStarted,
    DeprecationSeen,
    Event,
    ItemFinished,
    LimiterWaited,
    LoggingHook,
    Polled,
    ReadBackDecided,
    RetryScheduled,
    StyleFound,
)
from tests.conftest import connect, logged_in
from tests.wire.raw import http, raw_server

EventT = TypeVar("EventT", bound=Event)

GOOD = http(200, b'{"id": 42, "name": "Mine"}')
LOOKING = RetryPolicy(first_wait=0.001, longest_wait=0.002, settle=0.05, settle_after_500=0.05)


def only(events: list[Event], kind: type[EventT]) -> list[EventT]:
    return [event for event in events if isinstance(event, kind)]


def at_raw(url: str, **options: Any) -> AsyncEnvironments:
    """A client whose calls are one request each."""
    given: dict[str, Any] = {"auth": SessionCookie("s" * 32, "c" * 32), "routes": "root", "retry": LOOKING}
    return AsyncEnvironments(url, **given | options)


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


async def test_an_attempt_that_begins_ends_once_also_where_it_is_lost_or_cancelled() -> None:
    events: list[Event] = []
    silent = asyncio.Event()
    async with raw_server(None, http(502), GOOD, GOOD) as server, at_raw(server.url, hooks=[events.append]) as environments:
        await environments.retrieve(42)

        def cancel(event: Event) -> None:
            if isinstance(event, AttemptStarted):
                asyncio.get_running_loop().call_later(0.05, calling.cancel)

        server.after = lambda writer: silent.wait()  # type: ignore[assignment,return-value]
        server.answers[:] = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"]
        calling = asyncio.create_task(environments.with_options(hooks=[events.append, cancel]).retrieve(42))
        with pytest.raises(asyncio.CancelledError):
            await calling
        silent.set()
    started, finished = only(events, AttemptStarted), only(events, AttemptFinished)
    assert [event.outcome for event in finished] == ["lost", "failed", "answered", "cancelled"]
    assert all(end.started is begin for begin, end in zip(started, finished, strict=True))
    assert [(event.attempt, event.resend) for event in started] == [(1, 0), (2, 1), (3, 2), (1, 0)]
    assert {(event.host, event.verb, event.path) for event in started} == {(server.url, "GET", "/api/environments/{id}/")}


async def test_a_path_is_told_without_ids_search_and_what_a_redirect_adds() -> None:
    events: list[Event] = []
    moved = http(307, Location="/api/projects/42/?x=1")
    async with raw_server(moved, GOOD) as server, at_raw(server.url, hooks=[events.append]) as environments:
        await environments.retrieve(42)
        server.default = http(200, b'{"count": 0, "results": [], "next": null}')
        assert [one async for one in environments.list(search="Ada Lovelace")] == []
    assert server.requests[1] == "GET /api/projects/42/?x=1"
    assert "Ada" in server.requests[2]
    assert [(event.path, event.resend) for event in only(events, AttemptStarted)] == [
        ("/api/environments/{id}/", 0),
        ("/api/environments/{id}/", 1),
        ("/api/environments/", 0),
    ]


async def test_a_hook_adds_headers_and_cannot_replace_or_split_any() -> None:
    added = {"traceparent": "00-1-2-01", "accept": "text/html", "cookie": "no", "x-a": "1\r\nX-B: 2", "x c": "1", "x-d": "é"}

    def hook(event: Event) -> None:
        if isinstance(event, AttemptStarted):
            event.headers.update(added)

    with everything_logged() as lines:
        async with raw_server(GOOD, GOOD) as server, at_raw(server.url, hooks=[hook]) as environments:
            await environments.retrieve(42)
            await environments.with_options(hooks=[]).retrieve(42)
    with_hook, without = (set(head.split("\r\n")) for head in server.heads)
    assert with_hook - without == {"traceparent: 00-1-2-01"}
    assert without - with_hook == set()
    assert len([line for line in lines if "is left out" in line]) == 5


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "content-encoding", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Trailer", "Expect",
     "Accept-Encoding", "Authorization", "Cookie", "X-CSRFToken", "Referer", "Proxy-Authorization", "proxy-connection"],
)  # fmt: skip
async def test_a_hook_adds_no_header_that_decides_where_a_request_goes_or_ends(name: str) -> None:
    def hook(event: Event) -> None:
        if isinstance(event, AttemptStarted):
            event.headers[name] = "0"

    async with raw_server(default=http(200, b'{"id": 42, "name": "Mine", "anonymize_ips": true}')) as server:
        for auth in (PersonalAPIKey("phx_" + "k" * 40, scopes=["*"]), SessionCookie("s" * 32, "c" * 32)):
            async with at_raw(server.url, auth=auth) as environments:
                for hooks in ([], [hook]):
                    await environments.with_options(hooks=hooks).update(42, TeamSettings(anonymize_ips=True))
    assert server.heads[0] == server.heads[1]
    assert server.heads[2] == server.heads[3]


@pytest.mark.parametrize(
    ("fault", "policy", "verdict", "decision"),
    [
        ("drop_after_effect", LOOKING, "happened", "done"),
        ("500_before_effect", LOOKING, "unchanged", "send again"),
        ("drop_unread", LOOKING, "unchanged", "unknown"),
        ("drop_unread", attrs.evolve(LOOKING, read_back=False), None, "unknown"),
    ],
)
async def test_what_is_decided_after_a_lost_answer(fault: str, policy: RetryPolicy, verdict: str, decision: str) -> None:
    events: list[Event] = []
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=policy, hooks=[events.append]) as environments:
        sandbox.fault(fault, "rotate_secret_token")
        try:
            await environments.rotate_secret_token(1)
        except OutcomeUnknownError as error:
            assert decision == "unknown"
            observed = error.observations
        else:
            observed = only(events, ReadBackDecided)[0].observations
    assert only(events, ReadBackDecided) == [
        ReadBackDecided(
            endpoint="rotate_secret_token", environment_id=1, verdict=verdict, decision=decision, observations=observed
        )
    ]
    assert len(observed) >= (1 if verdict is None else 2)


async def test_each_environment_of_a_run_is_told_with_its_outcome() -> None:
    events: list[Event] = []
    async with Sandbox(3) as sandbox, connect(sandbox, hooks=[events.append]) as environments:
        await environments.each([1, 99]).retrieve()
        await environments.each([1, 2], concurrency=1, stop_after_failures=1).update(lambda ref: TeamSettings(timezone="No"))
        plan = await environments.plan(TeamSettings(timezone="Europe/Berlin"), [3])
        events_of_plan = len(only(events, ItemFinished))
        await environments.apply(plan)
    told = [(one.endpoint, one.environment_id, one.status, one.reason, one.error) for one in only(events, ItemFinished)]
    assert sorted(told[:2], key=str) == [
        ("retrieve", 1, "succeeded", None, None),
        ("retrieve", 99, "failed", None, "NotFoundError"),
    ]
    assert told[2:4] == [
        ("update", 1, "failed", None, "ValidationError"),
        ("update", 2, "skipped", "stopped", "ValidationError"),
    ]
    assert told[events_of_plan:] == [("update", 3, "succeeded", None, None)]
    assert all(one.attempts for one in only(events, ItemFinished) if one.status == "succeeded")


async def test_no_call_and_no_run_minds_a_hook_that_fails_on_everything() -> None:
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise PostHogEnvError("a hook's own trouble")

    hooks = [broken, told.append]
    with everything_logged() as lines:
        async with Sandbox(2) as sandbox, logged_in(sandbox, retry=LOOKING, hooks=hooks) as environments:
            sandbox.fault("502_before_effect", "update")
            await environments.update(1, TeamSettings(timezone="UTC"))
            sandbox.fault("drop_after_effect", "rotate_secret_token")
            report = await environments.each([1, 2]).rotate_secret_token()
            assert report.counts["succeeded"] == 2
    kinds = {type(event).__name__ for event in told}
    assert kinds >= {"AttemptStarted", "AttemptFinished", "StyleFound", "ReadBackDecided", "RetryScheduled", "ItemFinished"}
    failures = [line for line in lines if line.startswith("A telemetry hook failed on ")]
    assert len(failures) == len(told)
    assert all("a hook's own trouble" in line for line in failures)


STARTED = AttemptStarted(endpoint="update", environment_id=7, attempt=2, resend=1, host="https://x", verb="PATCH", path="/a/")
EVENTS: list[tuple[Event, str, int]] = [
    (STARTED, "attempt_started", logging.DEBUG),
    (
        AttemptFinished(
            endpoint="update", environment_id=7, attempt=2, outcome="failed", status=502, seconds=0.5, started=STARTED
        ),
        "attempt_finished",
        logging.DEBUG,
    ),
    (RetryScheduled(endpoint="u", environment_id=7, attempt=2, wait=1.0, reason="lost"), "retry_scheduled", logging.INFO),
    (LimiterWaited(endpoint="update", environment_id=None, seconds=2.0), "limiter_waited", logging.INFO),
    (StyleFound(host="https://x", style="root", era="unknown"), "style_found", logging.INFO),
    (DeprecationSeen(path="/a/\nb", successor=None, sunset=None, followed=False), "deprecation_seen", logging.WARNING),
    (Polled(endpoint="update", environment_id=7, poll=1, wait=1.0), "polled", logging.DEBUG),
    (
        ReadBackDecided(endpoint="u", environment_id=7, verdict=None, decision="unknown", observations=("seen",)),
        "read_back_decided",
        logging.WARNING,
    ),
    (
        ItemFinished(endpoint="u", environment_id=7, status="failed", reason=None, error="E", attempts=1, waited=0.0),
        "item_finished",
        logging.INFO,
    ),
]


@pytest.mark.parametrize(("event", "name", "level"), EVENTS, ids=[name for _, name, _ in EVENTS])
def test_the_log_has_a_line_and_the_fields(event: Event, name: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aioposthog_env.telemetry")
    LoggingHook()(event)
    (record,) = caplog.records
    fields = {field.name: getattr(event, field.name) for field in attrs.fields(type(event)) if field.repr}
    assert {key: value for key, value in vars(record).items() if key.startswith("posthog_")} == {
        "posthog_event": name,
        **{f"posthog_{field}": value for field, value in fields.items()},
    }
    assert record.levelno == level
    assert record.getMessage().splitlines() == [f"{name} " + " ".join(f"{key}={value!r}" for key, value in fields.items())]
    assert {"posthog_headers", "posthog_started"} & set(vars(record)) == set()


def test_every_event_is_in_that_table() -> None:
    assert {type(event) for event, _, _ in EVENTS} == set(Event.__args__)


def test_the_log_can_be_another_and_what_nobody_reads_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mine")
    hook = LoggingHook(logging.getLogger("mine"))
    for event, _, _ in EVENTS:
        hook(event)
    assert {record.name for record in caplog.records} == {"mine"}
    assert logging.DEBUG not in {record.levelno for record in caplog.records}
    assert len(caplog.records) == 6


async def test_no_secret_in_any_event_log_line_repr_or_error() -> None:
    events: list[Event] = []
    shown: list[str] = []
    with everything_logged() as lines:
        async with Sandbox(4) as sandbox:
            key, hooks = PersonalAPIKey(sandbox.key()), [events.append, LoggingHook()]
            async with (
                connect(sandbox, auth=key, hooks=hooks) as environments,
                logged_in(sandbox, hooks=hooks) as session,
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
