"""OpenTelemetry (extra ``otel``): a span and a duration for each request, and metrics of what the client decided.

Spans and ``http.client.request.duration`` follow the semantic conventions for HTTP clients, with one difference: ``url.full``
is left out, since it holds the environment's id and what was searched for; ``url.template`` stands for it. The parent of a
span is the caller's current span, also in a bulk run. What happens between requests, waits, repeats and decisions after lost
answers, becomes an event of that span.

Only the API of OpenTelemetry is needed. Where no SDK is set up, nothing is recorded.
"""

from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aioposthog_env.telemetry import (
    AttemptFinished,
    AttemptStarted,
    Event,
    ItemFinished,
    LimiterWaited,
    ReadBackDecided,
    RetryScheduled,
)
from aioposthog_env.version import __version__

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError:
    raise ModuleNotFoundError("It needs its extra: pip install 'aioposthog-env[otel]'", name="opentelemetry") from None

__all__ = ["OpenTelemetryHook"]

Attributes: TypeAlias = dict[str, str | int | float]

_NAME: Final = "aioposthog_env"
_DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Those that the semantic conventions ask for."""
_WAIT_BUCKETS: Final = (0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_WORDS: Final = {"notsent": "not_sent", "lost": "lost", "cancelled": "cancelled"}


class OpenTelemetryHook:
    """A hook that makes spans and metrics: ``AsyncEnvironments(…, hooks=[OpenTelemetryHook()])``.

    It may serve any number of clients. No attribute holds a secret, and by default none tells environments apart.

    Args:
        tracer_provider: Where spans go; None for the global one.
        meter_provider: Where metrics go; None for the global one.
        environment_ids: Put ``posthog.environment.id`` on spans and their events. Never on metrics.
        propagate: Send the context with each request, by the global propagator, as a rule in the header ``traceparent``. It
            goes to the host of the client only.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        environment_ids: bool = False,
        propagate: bool = True,
    ) -> None:
        self._environment_ids = environment_ids
        self._propagate = propagate
        self._open: dict[int, Span] = {}
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        self._waits = meter.create_histogram(
            "posthog.client.rate_limit.wait",
            unit="s",
            description="How long calls waited for the rate limit.",
            explicit_bucket_boundaries_advisory=_WAIT_BUCKETS,
        )
        self._refusals = meter.create_counter(
            "posthog.client.rate_limit.refusals", unit="{request}", description="Requests that the server throttled."
        )
        self._retries = meter.create_counter(
            "posthog.client.retries", unit="{request}", description="Requests that were scheduled to be sent again."
        )
        self._read_backs = meter.create_counter(
            "posthog.client.read_backs", unit="{call}", description="Calls whose answer was lost, by what was decided."
        )
        self._items = meter.create_counter(
            "posthog.client.items", unit="{environment}", description="Environments of bulk runs, by their outcome."
        )

    def __call__(self, event: Event) -> None:
        """Take note of a record."""
        match event:
            case AttemptStarted():
                self._start(event)
            case AttemptFinished():
                self._finish(event)
            case LimiterWaited():
                self._waits.record(event.seconds, {"posthog.endpoint": event.endpoint})
                self._add_event("posthog.rate_limit.waited", event, {"posthog.wait": event.seconds})
            case RetryScheduled():
                self._retries.add(1, {"posthog.endpoint": event.endpoint, "posthog.retry.reason": event.reason})
                what: Attributes = {"posthog.retry.reason": event.reason, "posthog.wait": event.wait}
                self._add_event("posthog.retry.scheduled", event, what)
            case ReadBackDecided():
                self._read_backs.add(1, {"posthog.endpoint": event.endpoint, "posthog.decision": event.decision})
                self._add_event("posthog.read_back.decided", event, {"posthog.decision": event.decision})
            case ItemFinished():
                outcome: Attributes = {"posthog.endpoint": event.endpoint, "posthog.outcome": event.status}
                reason: Attributes = {} if event.reason is None else {"posthog.outcome.reason": event.reason}
                self._items.add(1, outcome | reason)
            case _:
                pass

    def _start(self, event: AttemptStarted) -> None:
        attributes = _asked(event) | {"posthog.endpoint": event.endpoint} | self._environment(event.environment_id)
        if event.resend:
            attributes["http.request.resend_count"] = event.resend
        span = self._tracer.start_span(f"{event.verb} {event.path}", kind=SpanKind.CLIENT, attributes=attributes)
        self._open[id(event)] = span
        if self._propagate:
            propagate.inject(event.headers, trace.set_span_in_context(span))

    def _finish(self, event: AttemptFinished) -> None:
        answered = _answered(event)
        span = self._open.pop(id(event.started), trace.INVALID_SPAN)
        self._duration.record(event.seconds, _asked(event.started) | answered, trace.set_span_in_context(span))
        if event.outcome == "throttled":
            self._refusals.add(1, {"posthog.endpoint": event.endpoint})
        span.set_attributes(answered)
        if "error.type" in answered:
            span.set_status(StatusCode.ERROR)
        span.end()

    def _add_event(self, name: str, event: RetryScheduled | LimiterWaited | ReadBackDecided, attributes: Attributes) -> None:
        whole = attributes | {"posthog.endpoint": event.endpoint} | self._environment(event.environment_id)
        trace.get_current_span().add_event(name, whole)

    def _environment(self, environment_id: int | None) -> Attributes:
        return {} if environment_id is None or not self._environment_ids else {"posthog.environment.id": environment_id}


def _asked(event: AttemptStarted) -> Attributes:
    url = urlsplit(event.host)
    return {
        "http.request.method": event.verb,
        "url.template": event.path,
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }


def _answered(event: AttemptFinished) -> Attributes:
    status: Attributes = {} if event.status is None else {"http.response.status_code": event.status}
    if event.status is not None and event.status >= 400:
        return status | {"error.type": str(event.status)}
    return status | ({"error.type": _WORDS[event.outcome]} if event.outcome in _WORDS else {})
