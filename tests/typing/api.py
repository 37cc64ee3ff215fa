"""What the type checkers see of the public names. Checked by them, never run."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, assert_type

import attrs

import aioposthog_env
from aioposthog_env import (
    SERVER_LIMITS,
    UNSET,
    AccessReport,
    ActivityEntry,
    ApiError,
    AsyncEnvironments,
    AuthenticationError,
    BulkError,
    BulkReport,
    BulkRun,
    ClientStateError,
    ConfigurationError,
    ConflictError,
    Credential,
    CredentialNotAcceptedError,
    DecodeError,
    EndpointAccess,
    Environment,
    EnvironmentAccess,
    EnvironmentPlan,
    EnvironmentRef,
    EnvironmentSummary,
    Era,
    FieldChange,
    IngestionRestriction,
    InvalidSettingsError,
    Journal,
    JournalError,
    KeyInfo,
    NotFoundError,
    NotSentError,
    OAuthToken,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    PersonalAPIKey,
    Plan,
    PostHogEnvError,
    PostHogSession,
    ProductIntent,
    QueueError,
    RateLimit,
    RateLimiter,
    RateLimiterStatistics,
    RateLimiterUnavailableError,
    RateLimitWaitTooLong,
    RedisRateLimiter,
    RetryPolicy,
    Sandbox,
    ScopeError,
    Secret,
    Selected,
    Selection,
    ServerError,
    SessionCookie,
    SettingsFile,
    SettingsNotAppliedError,
    SinkError,
    StateChangedError,
    TeamSettings,
    ThrottledError,
    Timeout,
    TransportError,
    UnsetType,
    ValidationError,
    WaitTimeoutError,
    Where,
    Workers,
    WorkItem,
    log_in,
    run_item,
)
from aioposthog_env.bulk.each import Each
from aioposthog_env.otel import OpenTelemetryHook
from aioposthog_env.pytest_plugin import environments as environments_fixture
from aioposthog_env.pytest_plugin import posthog_sandbox, sandbox_in_a_thread
from aioposthog_env.reports import (
    DriftRow,
    Report,
    ReportChange,
    ReportRow,
    RequestMark,
    check_report_path,
    write_report,
)
from aioposthog_env.reports.requests import RequestLog
from aioposthog_env.reports.rows import rows_of
from aioposthog_env.sandbox import FAULTS, Fault, SandboxCall, SandboxEnvironment, SandboxSession, SandboxUser, Throttle
from aioposthog_env.sandbox import Plan as SandboxPlan
from aioposthog_env.sandbox import Sandbox as SameSandbox
from aioposthog_env.telemetry import (
    AttemptFinished,
    AttemptStarted,
    DeprecationSeen,
    Event,
    Hook,
    ItemFinished,
    LimiterWaited,
    LoggingHook,
    Polled,
    ReadBackDecided,
    RetryScheduled,
    StyleFound,
)

FIXTURES: Final = (environments_fixture, posthog_sandbox)


def clients(proxy: str | None) -> Iterator[AsyncEnvironments]:
    """Every argument."""
    credentials: list[Credential] = [
        PersonalAPIKey("phx_…", scopes={"project:read"}, projects=[1]),
        OAuthToken(Secret("pha_…")),
        SessionCookie("…", "…"),
    ]
    for auth in credentials:
        yield AsyncEnvironments(
            "eu",
            auth=auth,
            routes="nested",
            retry=attrs.evolve(RetryPolicy.disabled(), deadline=None, wait_ceiling=None),
            timeout=Timeout(connect=5, read=30.0, total=60),
            limiter=RateLimiter([RateLimit(10, 60), *SERVER_LIMITS]),
            enforce_scopes=False,
            max_connections=1,
            max_body=1_000,
            ssl=ssl.create_default_context(),
            proxy=proxy,
            trust_env=False,
            allow_insecure_http=True,
            hooks=[LoggingHook(), OpenTelemetryHook(environment_ids=True, propagate=False), lambda event: None],
        )
    AsyncEnvironments("eu", routes="sideways")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncEnvironments("eu", auth="phx_…")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    TeamSettings(no_such_setting=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def single(environments: AsyncEnvironments) -> None:
    """One call."""
    environment = await environments.retrieve(42)
    assert_type(environment, Environment)
    assert_type(environment.settings, TeamSettings)
    assert_type(environment.settings.anonymize_ips, bool | UnsetType)
    assert_type(environment.secret_api_token, Secret | None | UnsetType)
    assert_type(await environments.update(environment, TeamSettings(anonymize_ips=True)), Environment)
    assert_type(await environments.create(TeamSettings(name="x")), Environment)
    assert_type(await environments.event_ingestion_restrictions(42), list[IngestionRestriction])
    assert_type(await environments.is_generating_demo_data(42), bool)
    assert_type(await environments.check_access(needs={"project:write"}, of=[42]), AccessReport)
    async for summary in environments.list(search="prod"):
        assert_type(summary, EnvironmentSummary)
    async for entry in environments.activity(42):
        assert_type(entry, ActivityEntry)
    assert_type(await log_in("us", "a@example.com", "password"), SessionCookie)


async def safety(environments: AsyncEnvironments) -> None:
    """Plan, apply, undo, rotate, wait."""
    plan = await environments.plan({1: TeamSettings(timezone="UTC")})
    assert_type(plan, Plan)
    assert_type(plan.environments, tuple[EnvironmentPlan, ...])
    assert_type(plan.environments[0].changes, tuple[FieldChange, ...])
    assert_type(await environments.apply(plan, journal="run.db", canary=1), BulkReport[Environment])
    assert_type(await environments.undo(Journal("run.db")), BulkReport[Environment])
    each = environments.each([1], journal="run.db", run="rotation", adopt=True)
    assert_type(await each.rotate_secret_token(sink=lambda one: one.id, verify=True), BulkReport[Environment])
    assert_type(await each.delete_secret_token_backup(min_age=60), BulkReport[Environment])
    assert_type(await environments.update(1, TeamSettings(), expected=TeamSettings()), Environment)
    await environments.wait_until_deleted(1, deadline=60)
    await environments.wait_until_demo_data_ready(1)


async def bulk(environments: AsyncEnvironments) -> None:
    """Many calls."""
    report = await environments.each([1, environments.list]).retrieve()  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert_type(report, BulkReport[Environment])
    async with environments.each(environments.list()).is_generating_demo_data() as outcomes:
        async for outcome in outcomes:
            assert_type(outcome.value, bool | None)


async def bulk_types(environments: AsyncEnvironments, each: Each) -> None:
    """What a run gives."""
    run = each.retrieve()
    assert_type(run, BulkRun[Environment])
    report = await run
    run.stop()
    assert_type(report.counts, dict[Literal["succeeded", "unchanged", "failed", "unknown", "skipped"], int])
    for outcome in report:
        assert_type(outcome, Outcome[Environment])
        assert_type(outcome.value, Environment | None)
        assert_type(outcome.error, PostHogEnvError | None)
    assert_type(report.remaining(), list[EnvironmentRef])
    assert_type(await each.delete(), BulkReport[None])
    assert_type(await each.activity(limit=3), BulkReport[list[ActivityEntry]])
    chosen = await environments.select(Selection(ids=[1], names=("a*",), where=Where.parse("id > 1")), with_names=True)
    assert_type(chosen, list[Selected])
    desired = SettingsFile.load("policy.yaml")
    assert_type(desired, SettingsFile)
    session: PostHogSession = each.session
    assert_type(session.era, Era)
    assert_type(environments.limiter, RateLimiter | None)
    if environments.limiter is not None:
        assert_type(environments.limiter.statistics(), RateLimiterStatistics)


def models(environment: Environment, key: KeyInfo, report: AccessReport) -> None:
    """What the server sends."""
    assert_type(environment.product_intents, list[ProductIntent] | UnsetType)
    assert_type(key.scopes, list[str] | None | UnsetType)
    assert_type(report.of("update"), EndpointAccess)
    assert_type(report.environments, tuple[EnvironmentAccess, ...])
    if environment.api_token is not UNSET:
        assert_type(environment.api_token.reveal(), str)
    assert_type(aioposthog_env.__version__, str)


def errors(error: PostHogEnvError) -> None:
    """Each class, and what it carries. The narrow ones come first."""
    match error:
        case InvalidSettingsError():
            assert_type(error.problems, tuple[tuple[str, str], ...])
        case ScopeError():
            assert_type(error.missing, frozenset[str])
        case OutcomeUnknownError():
            assert_type(error.observations, tuple[str, ...])
        case ThrottledError():
            assert_type(error.retry_after, float | None)
        case ApiError():
            assert_type(error.status, int)
            assert_type(error.attr, str | None)
        case RateLimitWaitTooLong():
            assert_type((error.retry_after, error.ceiling), tuple[float, float])
        case DecodeError():
            assert_type(error.path, str)
        case SettingsNotAppliedError():
            assert_type(error.fields, tuple[str, ...])
        case _:
            assert_type(error.environment_id, int | None)
            assert_type(error.attempts, int)
    tree: list[type[PostHogEnvError]] = [BulkError, ClientStateError, ConfigurationError, JournalError, NotSentError, SinkError]
    tree += [StateChangedError, TransportError, WaitTimeoutError, RateLimiterUnavailableError]
    answers: list[type[ApiError]] = [AuthenticationError, ConflictError, NotFoundError, PermissionDeniedError, ServerError]
    answers.append(ValidationError)
    refused: type[PermissionDeniedError] = CredentialNotAcceptedError
    timeouts: type[TimeoutError] = WaitTimeoutError
    unknown: type[OutcomeUnknownError] = QueueError
    print(tree, answers, refused, timeouts, unknown)


async def many_machines(refs: list[EnvironmentRef], plan: Plan) -> None:
    """One limit, and one run, over many processes."""
    limiter = RedisRateLimiter("redis://127.0.0.1:6379")
    workers = Workers("redis://127.0.0.1:6379", name="eu", in_flight=100)
    async with AsyncEnvironments("eu", limiter=limiter) as environments:
        report = await environments.each(refs, journal="run.db", on=workers).rotate_secret_token(sink="secrets.jsonl")
        merged = BulkReport.merge({"rotated": report, "applied": await environments.apply(plan, on=workers)})
        assert_type(merged, BulkReport[Environment])
        item = await WorkItem.rotating(environments, refs[0])
        assert_type(item.to_json(), str)
        assert_type(await run_item(item, environments), Outcome[None])


def told(event: Event) -> str:
    """Every record, so that a type checker says when one is new."""
    match event:
        case AttemptStarted():
            event.headers["x-request-id"] = "1"
            return event.path
        case AttemptFinished():
            return event.started.host
        case RetryScheduled() | LimiterWaited() | Polled() | ReadBackDecided():
            return event.endpoint
        case StyleFound():
            return event.style
        case DeprecationSeen():
            return event.path
        case ItemFinished():
            return event.status


def reports(report: BulkReport[Any], log: RequestLog, template: Report, drift: DriftRow, path: Path) -> None:
    """From a run to a page."""
    rows = rows_of(report, "https://eu.posthog.com")
    assert_type(rows, tuple[ReportRow, ...])
    assert_type(rows[0].changes, tuple[ReportChange, ...])
    assert_type(log.marks, tuple[RequestMark, ...])
    hook: Hook = log.hook("https://eu.posthog.com")
    hook_too: Callable[[Event], object] = hook
    check_report_path(path)
    write_report(report, path, host="https://eu.posthog.com")
    write_report(attrs.evolve(template, rows=rows, drift=(drift,), requests=log.marks), path)
    print(hook_too)


async def sandbox() -> None:
    """The embedded PostHog."""
    async with Sandbox(3, era="2025-11", throttle=Throttle(minute=(10, 1.0))) as embedded:
        embedded.fault("truncate", "retrieve", times=2)
        assert_type(embedded.calls, list[SandboxCall])
        assert_type(embedded.environment(1), SandboxEnvironment)
        assert_type(embedded.session(), SandboxSession)
        assert_type(embedded.user, SandboxUser)
        assert_type(FAULTS, Mapping[str, Mapping[str, Any]])
    with sandbox_in_a_thread(SameSandbox()) as running:
        assert_type(running, Sandbox)
    print(Fault(status=500), SandboxPlan(projects=3))
