"""One call on its way: find the URL style, then per attempt the limit, one request, and the decision what follows."""

from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import urljoin, urlsplit

import anyio
import attrs
import msgspec

from aioposthog_env.api import calls, replies
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import Endpoint, Repeat, Target
from aioposthog_env.api.era import Era, era_of_payload
from aioposthog_env.api.routes import (
    Place,
    RouteMemory,
    Style,
    Verdict,
    candidates,
    judge,
    path,
    probe_of,
    successor_of,
)
from aioposthog_env.auth import Credential
from aioposthog_env.errors import NotSentError, PostHogEnvError, RateLimitWaitTooLong, TransportError
from aioposthog_env.limiter import RateLimiter
from aioposthog_env.policy.delivery import (
    Answered,
    Delivery,
    Failed,
    Lost,
    NotSent,
    Redirected,
    Refused,
    Reply,
    Throttled,
    classify,
)
from aioposthog_env.policy.rate_limit import Slot
from aioposthog_env.policy.retry import Again, Attempts, ReadBack, RetryBudget, RetryPolicy, decide
from aioposthog_env.recovery import outcome_unknown
from aioposthog_env.telemetry import (
    AttemptFinished,
    DeprecationSeen,
    Event,
    Hook,
    LimiterWaited,
    RetryScheduled,
    StyleFound,
    log,
    tell,
)
from aioposthog_env.transport import USER_AGENT, Timeout, Transport

_MAX_REDIRECTS: Final = 3

Limiter: TypeAlias = RateLimiter | Literal["shared"] | None


@attrs.frozen(kw_only=True)
class Options:
    """What may differ between two views of one session."""

    retry: RetryPolicy
    timeout: Timeout
    enforce_scopes: bool
    hooks: tuple[Hook, ...]


@attrs.define
class Host:
    """What all calls to one host share."""

    origin: str
    credential: Credential
    transport: Transport
    routes: RouteMemory
    limiter: RateLimiter | None = None
    budget: RetryBudget = attrs.field(factory=RetryBudget)
    finding: anyio.Lock = attrs.field(factory=anyio.Lock)
    _headers: dict[tuple[bool, bool], dict[str, str]] = attrs.field(factory=dict[tuple[bool, bool], dict[str, str]])

    def headers(self, *, unsafe: bool, body: bool) -> dict[str, str]:
        """The headers of a request, made once for each kind."""
        kind = unsafe, body
        if kind not in self._headers:
            headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
            if body:
                headers["Content-Type"] = "application/json"
            self._headers[kind] = headers | self.credential.headers(unsafe=unsafe, origin=self.origin)
        return self._headers[kind]


@attrs.frozen
class _Request:
    """One request to be sent: what a probe asks differs from what the call asks."""

    endpoint: Endpoint
    path: str
    body: bytes | None = None


class Exchange:
    """One call on its way.

    Attributes:
        sent: How many requests have left, or tried to.
        waited: Seconds spent waiting, for the limit and between attempts.
    """

    def __init__(self, host: Host, options: Options, call: Call[Any], place: Place) -> None:
        self._host = host
        self._options = options
        self._call = call
        self._place = place
        self._started = anyio.current_time()
        self._attempts = Attempts()
        self.sent = 0
        self.waited = 0.0

    async def run(self) -> Reply:
        """Send until a decision ends it.

        Returns:
            The reply of success.
        """
        call, place, routes = self._call, self._place, self._host.routes
        refused_style: Style | None = None
        while True:
            style = routes.style_for(call.endpoint, place)
            if style is None:
                style, reply = await self._find_style()
                if reply is not None:
                    return reply
            delivery = await self._deliver(_Request(call.endpoint, path(style, call.endpoint, place) + call.query, call.body))
            if isinstance(delivery, Answered):
                self._host.budget.give_back()
                return delivery.reply
            if isinstance(delivery, Refused):
                reply = delivery.reply
                if self._attempts.uncertain and replies.absorbed(call.endpoint, reply.status, reply.body):
                    return reply
                verdict = judge(style, place, status=reply.status, opening=reply.opening)
                # Where the same style is found again, it is the action that this server does not have.
                if style != refused_style and routes.gone(call.endpoint, place, verdict):
                    refused_style = style
                    continue
            await self._go_round(delivery, call.endpoint.repeat)

    async def ask_once(self) -> Reply | None:
        """Send once, without repeats. None where no good answer came."""
        endpoint = self._call.endpoint
        delivery = await self._deliver(_Request(endpoint, path("project", endpoint, self._place)))
        return delivery.reply if isinstance(delivery, Answered) else None

    async def _find_style(self) -> tuple[Style, Reply | None]:
        """Ask for the environment in one style after the other, one task at a time.

        Returns:
            The style to use; and the answer, where the probe was the very call.
        """
        endpoint, place, routes = self._call.endpoint, self._place, self._host.routes
        async with self._host.finding:
            if (style := routes.style_for(endpoint, place)) is not None:
                return style, None  # another task has found it meanwhile
            while True:
                before = attrs.evolve(self._attempts)
                style, delivery = await self._probe_styles()
                if style is not None:
                    break
                # A round over the styles is one attempt.
                self._attempts = before
                self._attempts.count(delivery)
                # A 5xx was no refusal of a style, since no other style answered: it is a server in trouble.
                await self._go_round(delivery, Repeat.SAFE)
            self._attempts = Attempts()
            if isinstance(delivery, Refused) and delivery.reply.status == 401:
                raise self._error(delivery)
            if isinstance(delivery, Answered) and endpoint.target is Target.ENVIRONMENT:
                self._learn_era(delivery.reply, style)
            style = routes.settle(endpoint, place, style)
            self._tell(StyleFound(host=self._host.origin, style=style, era=routes.era.value))
            if not isinstance(delivery, Answered):
                # A genuine refusal: what the credential cannot read, it cannot change.
                raise self._error(delivery)
            return style, delivery.reply if endpoint is probe_of(endpoint) else None

    async def _probe_styles(self) -> tuple[Style | None, Delivery]:
        """One round over the styles.

        Returns:
            The style that answered with its answer; or None with the most telling failure.
        """
        endpoint, place = self._call.endpoint, self._place
        asking = self._call
        if endpoint is not probe_of(endpoint):
            asking = calls.list_page(limit=1, offset=0, search=None) if place.environment_id is None else calls.retrieve()
        failed: Delivery | None = None
        refused: Delivery | None = None
        for style in candidates(endpoint, place):
            delivery = await self._deliver(_Request(asking.endpoint, path(style, asking.endpoint, place) + asking.query))
            if not isinstance(delivery, Answered | Refused | Failed):
                return None, delivery
            verdict = judge(style, place, status=delivery.reply.status, opening=delivery.reply.opening)
            if verdict is Verdict.ANSWERS:
                return style, delivery
            if verdict is Verdict.FAILED:
                failed = failed or delivery
            else:
                refused = refused or Refused(delivery.reply)
                if delivery.reply.status == 403:
                    self._host.routes.known(Era.C)
        return None, cast("Delivery", failed or refused)

    def _learn_era(self, reply: Reply, style: Style) -> None:
        try:
            payload: object = msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(payload, dict):
            self._host.routes.known(era_of_payload(cast("dict[str, Any]", payload), whole=style != "project"))

    async def _deliver(self, request: _Request) -> Delivery:
        """One request, and a few more where the same server redirects it with verb and body kept."""
        for _ in range(_MAX_REDIRECTS):
            delivery = await self._attempt(request)
            if not isinstance(delivery, Redirected):
                return delivery
            target = self._redirect(delivery.reply, request)
            if target is None:
                return Refused(delivery.reply)
            request = attrs.evolve(request, path=target)
        delivery = await self._attempt(request)
        return Refused(delivery.reply) if isinstance(delivery, Redirected) else delivery

    def _redirect(self, reply: Reply, request: _Request) -> str | None:
        """The path a redirect leads to; None where it must not be followed."""
        location = reply.headers.get("Location", "")
        try:
            target = urlsplit(urljoin(self._host.origin + request.path, location))
        except ValueError:
            return None
        if f"{target.scheme}://{target.netloc}".lower() != self._host.origin or not location.isascii():
            return None
        routes = self._host.routes
        project = path("project", request.endpoint, self._place)
        # On all but the newest servers this would delete the whole project.
        whole_project = request.endpoint.destroys and target.path.rstrip("/") == project.rstrip("/")
        if whole_project and routes.era is not Era.D and routes.routes != "project":
            return None
        return target.path + (f"?{target.query}" if target.query else "")

    async def _attempt(self, request: _Request) -> Delivery:
        """Exactly one request, within the limit."""
        limiter, hooks = self._host.limiter, self._options.hooks
        slot = await self._slot(limiter) if limiter is not None else None
        started = anyio.current_time() if hooks else 0.0
        self.sent += 1
        delivery: Delivery = Lost("cancelled")
        try:
            answer = await self._host.transport.send(
                request.endpoint.verb,
                request.path,
                headers=self._host.headers(unsafe=not request.endpoint.reads, body=request.body is not None),
                body=request.body,
                timeout=self._timeout(),
            )
            delivery = classify(answer) if isinstance(answer, Reply) else answer
        finally:
            if limiter is not None and slot is not None:
                _give_back(limiter, slot, delivery)
        self._attempts.count(delivery)
        if isinstance(answer, Reply) and "Deprecation" in answer.headers:
            self._note_deprecation(request, answer)
        if hooks:
            self._tell(self._finished(request, delivery, anyio.current_time() - started))
        return delivery

    async def _slot(self, limiter: RateLimiter) -> Slot:
        slot = await limiter.acquire(ceiling=self._longest_wait())
        if slot.waited:
            self.waited += slot.waited
            name, environment_id = self._call.endpoint.name, self._place.environment_id
            self._tell(LimiterWaited(endpoint=name, environment_id=environment_id, seconds=slot.waited))
        return slot

    async def _go_round(self, delivery: Delivery, repeat: Repeat) -> None:
        """Wait until it may be sent again.

        Raises:
            PostHogEnvError: It may not.
        """
        decision = decide(delivery, repeat=repeat, attempts=self._attempts, policy=self._options.retry)
        if isinstance(decision, ReadBack):
            raise outcome_unknown(self._call.endpoint.name, cast("Lost | Failed", delivery))
        if not isinstance(decision, Again) or (decision.costs and not self._host.budget.spend()):
            raise self._error(delivery)
        longest = self._longest_wait() if decision.asked else self._time_left()
        if longest is not None and decision.wait > longest:
            if decision.asked:
                raise RateLimitWaitTooLong(retry_after=decision.wait, ceiling=longest)
            raise self._error(delivery)
        event = RetryScheduled(
            endpoint=self._call.endpoint.name,
            environment_id=self._place.environment_id,
            attempt=self.sent + 1,
            wait=decision.wait,
            reason=decision.reason,
        )
        log.info("%s of environment %s again in %.2f s: %s", event.endpoint, event.environment_id, event.wait, event.reason)
        self._tell(event)
        before = anyio.current_time()
        await anyio.sleep(decision.wait)
        self.waited += anyio.current_time() - before

    def _time_left(self) -> float | None:
        deadline = self._options.retry.deadline
        return None if deadline is None else max(0.0, self._started + deadline - anyio.current_time())

    def _longest_wait(self) -> float | None:
        waits = [wait for wait in (self._options.retry.wait_ceiling, self._time_left()) if wait is not None]
        return min(waits, default=None)

    def _timeout(self) -> Timeout:
        timeout, left = self._options.timeout, self._time_left()
        if left is None or left >= timeout.total:
            return timeout
        return attrs.evolve(timeout, total=max(left, 0.001))

    def _error(self, delivery: Delivery) -> PostHogEnvError:
        """The error that a delivery ends in."""
        origin = self._host.origin
        if isinstance(delivery, NotSent):
            return NotSentError(f"The request never left, so nothing changed: {delivery.reason}. Is {origin} the right host?")
        if isinstance(delivery, Lost):
            effect = "" if self._call.endpoint.reads else " It may have taken effect; calling again is safe."
            return TransportError(f"No whole answer came from {origin}: {delivery.reason}.{effect}")
        reply = delivery.reply
        retry_after = delivery.retry_after if isinstance(delivery, Throttled) else None
        return replies.error_of(reply.status, reply.headers, reply.body, host=origin, retry_after=retry_after)

    def _note_deprecation(self, request: _Request, reply: Reply) -> None:
        """Take the successor path that the server names from now on, and report it once per path."""
        routes, place, headers = self._host.routes, self._place, reply.headers
        successor = successor_of(headers.get("Link", ""))
        followed = successor is not None and routes.succeed(request.endpoint, place, successor)
        if followed:
            routes.known(Era.C)
        here = _anonymous(request.path, place)
        if here in routes.deprecated:
            return
        routes.deprecated.add(here)
        event = DeprecationSeen(
            path=here,
            successor=None if successor is None else _anonymous(successor, place),
            sunset=headers.get("Sunset"),
            followed=followed,
        )
        then = "calls now use the successor" if followed else "calls stay as they are"
        log.warning("PostHog announces the end of %s (sunset %s, successor %s): %s", here, event.sunset, event.successor, then)
        self._tell(event)

    def _finished(self, request: _Request, delivery: Delivery, seconds: float) -> AttemptFinished:
        reply = getattr(delivery, "reply", None)
        return AttemptFinished(
            endpoint=request.endpoint.name,
            environment_id=self._place.environment_id,
            attempt=self.sent,
            outcome=type(delivery).__name__.lower(),
            status=reply.status if isinstance(reply, Reply) else None,
            seconds=seconds,
        )

    def _tell(self, event: Event) -> None:
        tell(self._options.hooks, event)


def _give_back(limiter: RateLimiter, slot: Slot, delivery: Delivery) -> None:
    if isinstance(delivery, NotSent):
        limiter.not_sent(slot)
    elif isinstance(delivery, Throttled) and delivery.reply.status == 429:
        limiter.refused(slot, delivery.retry_after or 1.0)
    else:
        limiter.answered(slot)


def _anonymous(where: str, place: Place) -> str:
    """A path without its query and ids, so that it stands for all environments."""
    parts = where.partition("?")[0].split("/")
    return "/".join("{id}" if part.isdigit() or part == place.organization_id else part for part in parts)
