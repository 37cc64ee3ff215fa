"""Spans and metrics, as the SDK's in-memory exporters get them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aioposthog_env import AsyncEnvironments, PersonalAPIKey, RateLimit, RateLimiter, RetryPolicy, Sandbox
from aioposthog_env.otel import OpenTelemetryHook
from tests.conftest import QUICK, connect, logged_in
from tests.wire.raw import http, raw_server

GOOD = http(200, b'{"id": 42, "name": "Mine"}')
READING: dict[str, Any] = {
    "auth": PersonalAPIKey("phx_" + "k" * 32, scopes=["project:read"]),
    "routes": "root",
    "limiter": None,
}


class Telescope:
    """The providers of one test, and what they were told."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])

    def hook(self, **options: Any) -> OpenTelemetryHook:
        """A hook that tells this telescope."""
        return OpenTelemetryHook(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended."""
        return self._exporter.get_finished_spans()

    def points(self) -> Iterator[tuple[str, str | None, NumberDataPoint | HistogramDataPoint]]:
        """Name, unit and data point of each metric."""
        data = self._reader.get_metrics_data()
        for resource in [] if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                        yield metric.name, metric.unit, point

    def counts(self) -> dict[tuple[str, frozenset[Any]], float]:
        """By name and attributes: the value of a counter, or how often a histogram was given one."""
        return {
            (name, frozenset((point.attributes or {}).items())): point.value
            if isinstance(point, NumberDataPoint)
            else point.count
            for name, _, point in self.points()
        }

    def everything(self) -> str:
        """All of it as text."""
        return "\n".join([*(span.to_json() for span in self.spans), *map(str, self.points())])


@pytest.fixture
def telescope() -> Iterator[Telescope]:
    telescope = Telescope()
    yield telescope
    telescope.tracer_provider.shutdown()
    telescope.meter_provider.shutdown()


def shown(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_each_request_is_a_client_span_with_its_resends(telescope: Telescope) -> None:
    async with raw_server(None, http(502), GOOD) as server:
        async with AsyncEnvironments(server.url, retry=QUICK, hooks=[telescope.hook()], **READING) as environments:
            await environments.retrieve(42)
        port = int(server.url.rpartition(":")[2])
    asked = {
        "http.request.method": "GET",
        "url.template": "/api/environments/{id}/",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    here = asked | {"posthog.endpoint": "retrieve"}
    assert [shown(span) for span in telescope.spans] == [
        here | {"error.type": "lost"},
        here | {"http.request.resend_count": 1, "http.response.status_code": 502, "error.type": "502"},
        here | {"http.request.resend_count": 2, "http.response.status_code": 200},
    ]
    assert [span.status.status_code for span in telescope.spans] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert {(span.name, span.kind) for span in telescope.spans} == {("GET /api/environments/{id}/", SpanKind.CLIENT)}
    counts = telescope.counts()
    for answered in (
        {"error.type": "lost"},
        {"http.response.status_code": 502, "error.type": "502"},
        {"http.response.status_code": 200},
    ):
        assert counts["http.client.request.duration", frozenset((asked | answered).items())] == 1
    for reason in ("lost", "status 502"):
        retried = frozenset({"posthog.endpoint": "retrieve", "posthog.retry.reason": reason}.items())
        assert counts["posthog.client.retries", retried] == 1


async def test_the_duration_is_in_seconds_with_the_buckets_of_the_conventions(telescope: Telescope) -> None:
    async with Sandbox(1) as sandbox, connect(sandbox, hooks=[telescope.hook()]) as environments:
        await environments.retrieve(1)
    (name, unit, point), *_ = telescope.points()
    assert (name, unit) == ("http.client.request.duration", "s")
    assert isinstance(point, HistogramDataPoint)
    assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert 0 < point.sum < 10


async def test_the_context_goes_with_each_request_and_the_parent_is_the_callers_span(telescope: Telescope) -> None:
    tracer = telescope.tracer_provider.get_tracer("test")
    async with raw_server(default=GOOD) as server:
        async with AsyncEnvironments(server.url, hooks=[telescope.hook()], **READING) as environments:
            with tracer.start_as_current_span("job") as job:
                await environments.retrieve(42)
                await environments.each([1, 2, 3]).retrieve()
            await environments.with_options(hooks=[telescope.hook(propagate=False)]).retrieve(42)
        sent = [line for head in server.heads for line in head.splitlines() if line.startswith("traceparent")]
    requests = [span for span in telescope.spans if span.kind is SpanKind.CLIENT]
    for span, header in zip(requests[:4], sent, strict=True):
        assert span.context is not None
        of = span.context
        assert header == f"traceparent: 00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}"
        assert span.parent == job.get_span_context()
    assert requests[4].parent is None


async def test_waits_refusals_repeats_and_outcomes_are_counted(telescope: Telescope) -> None:
    tracer = telescope.tracer_provider.get_tracer("test")
    limiter = RateLimiter((RateLimit(2, 0.1),))
    async with Sandbox(3) as sandbox:
        sandbox.fault("throttle_without_wait", "retrieve")
        hooks = [telescope.hook()]
        async with connect(
            sandbox, "project:read", routes="root", limiter=limiter, enforce_scopes=False, hooks=hooks
        ) as client:
            with tracer.start_as_current_span("job"):
                await client.each([1, 2, 99]).retrieve()
    counts = telescope.counts()
    here = ("posthog.endpoint", "retrieve")
    assert counts["posthog.client.rate_limit.refusals", frozenset({here})] == 1
    assert counts["posthog.client.retries", frozenset({here, ("posthog.retry.reason", "throttled")})] == 1
    assert counts["posthog.client.rate_limit.wait", frozenset({here})] >= 1
    assert counts["posthog.client.items", frozenset({here, ("posthog.outcome", "succeeded")})] == 2
    assert counts["posthog.client.items", frozenset({here, ("posthog.outcome", "failed")})] == 1
    (job,) = [span for span in telescope.spans if span.name == "job"]
    assert {event.name for event in job.events} == {"posthog.rate_limit.waited", "posthog.retry.scheduled"}
    assert all(
        set(event.attributes or {}) <= {"posthog.endpoint", "posthog.wait", "posthog.retry.reason"} for event in job.events
    )


async def test_a_skipped_environment_is_counted_with_its_reason(telescope: Telescope) -> None:
    async with Sandbox(2) as sandbox, connect(sandbox, hooks=[telescope.hook()]) as environments:
        await environments.each([99, 1], concurrency=1, stop_after_failures=1).retrieve()
    skipped = {("posthog.endpoint", "retrieve"), ("posthog.outcome", "skipped"), ("posthog.outcome.reason", "stopped")}
    assert telescope.counts()["posthog.client.items", frozenset(skipped)] == 1


async def test_what_is_decided_after_a_lost_answer_is_counted(telescope: Telescope) -> None:
    tracer = telescope.tracer_provider.get_tracer("test")
    policy = attrs.evolve(QUICK, read_back=True, settle=0.05)
    async with Sandbox(1) as sandbox, logged_in(sandbox, retry=policy, hooks=[telescope.hook()]) as environments:
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        with tracer.start_as_current_span("job"):
            await environments.rotate_secret_token(1)
    decided = frozenset({("posthog.endpoint", "rotate_secret_token"), ("posthog.decision", "done")})
    assert telescope.counts()["posthog.client.read_backs", decided] == 1
    (job,) = [span for span in telescope.spans if span.name == "job"]
    assert "posthog.read_back.decided" in {event.name for event in job.events}


async def test_a_cancelled_request_ends_its_span_and_one_that_never_left_says_so(telescope: Telescope) -> None:
    async with Sandbox(1) as sandbox:
        sandbox.fault("delay_before_effect", "retrieve")
        options: dict[str, Any] = {"routes": "root", "hooks": [telescope.hook()], "retry": RetryPolicy.disabled()}
        async with connect(sandbox, enforce_scopes=False, **options) as environments:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(environments.retrieve(1), 0.05)
            async with sandbox.refusing_connections():
                with pytest.raises(Exception, match="never left"):
                    await environments.retrieve(1)
    assert [shown(span)["error.type"] for span in telescope.spans] == ["cancelled", "not_sent"]


async def test_environments_are_told_apart_only_where_that_is_asked_for(telescope: Telescope) -> None:
    tracer = telescope.tracer_provider.get_tracer("test")
    async with (
        raw_server(http(502), GOOD, default=GOOD) as server,
        AsyncEnvironments(server.url, retry=QUICK, hooks=[telescope.hook()], **READING) as environments,
    ):
        with tracer.start_as_current_span("job"):
            await environments.each([7_654_321]).retrieve()
        assert "7654321" not in telescope.everything()
        server.answers[:] = [http(502)]
        told = environments.with_options(hooks=[telescope.hook(environment_ids=True)])
        with tracer.start_as_current_span("job"):
            await told.each([7_654_321]).retrieve()
    requests = [span for span in telescope.spans if span.kind is SpanKind.CLIENT]
    assert [shown(span).get("posthog.environment.id") for span in requests] == [None, None, 7_654_321, 7_654_321]
    job = [span for span in telescope.spans if span.name == "job"][-1]
    assert [dict(event.attributes or {})["posthog.environment.id"] for event in job.events] == [7_654_321]
    assert "7654321" not in str(list(telescope.points()))


async def test_no_secret_and_no_search_is_in_a_span_or_metric(telescope: Telescope) -> None:
    hooks = [telescope.hook(environment_ids=True)]
    policy = attrs.evolve(QUICK, read_back=True, settle=0.05)
    async with Sandbox(3) as sandbox:
        sandbox.fault("drop_after_effect", "rotate_secret_token")
        sandbox.fault("bad_json", "reset_token")
        async with logged_in(sandbox, hooks=hooks, retry=policy) as session, connect(sandbox, hooks=hooks) as environments:
            with telescope.tracer_provider.get_tracer("test").start_as_current_span("job"):
                await session.each([1, 2]).rotate_secret_token()
                await session.each([1, 2]).reset_token()
                async for _ in environments.list(search="Ada Lovelace"):
                    pass
                await environments.each([1, 99]).retrieve()
        secrets = sandbox.secrets
    told = telescope.everything()
    assert len(telescope.spans) > 10
    assert [secret for secret in secrets if secret in told] == []
    assert "Ada" not in told


async def test_without_an_sdk_nothing_is_recorded_and_calls_work() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    async with raw_server(default=GOOD) as server:
        async with AsyncEnvironments(server.url, hooks=[OpenTelemetryHook()], **READING) as environments:
            assert (await environments.retrieve(42)).id == 42
        assert "traceparent" not in server.heads[0]


def test_without_the_extra_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None\nimport aioposthog_env.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'aioposthog-env[otel]'" in done.stderr.splitlines()[-1]
    assert done.returncode == 1
