"""Sending the requests of one call: each within the limit, exactly once, and followed where the same server redirects it."""

import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import urljoin, urlsplit

import anyio
import attrs

from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import Endpoint, Repeat
from aioposthog_env.api.era import Era
from aioposthog_env.api.replies import printable
from aioposthog_env.api.routes import Place, RouteMemory, Style, path, successor_of
from aioposthog_env.auth import Credential
from aioposthog_env.environment_locks import EnvironmentLocks, ReplacedTokens
from aioposthog_env.errors import ConfigurationError, NotSentError, RateLimitWaitTooLong
from aioposthog_env.limiter import RateLimiter
from aioposthog_env.policy.delivery import Delivery, Lost, NotSent, Redirected, Refused, Reply, Throttled, classify
from aioposthog_env.policy.priority import Priority
from aioposthog_env.policy.rate_limit import Slot
from aioposthog_env.policy.retry import Attempts, RetryBudget, RetryPolicy
from aioposthog_env.stop import Stop
from aioposthog_env.telemetry import (
    AttemptFinished,
    AttemptStarted,
    DeprecationSeen,
    Event,
    Hook,
    LimiterWaited,
    log,
    tell,
)
from aioposthog_env.transport import USER_AGENT, Timeout, Transport

T = TypeVar("T")

_MAX_REDIRECTS: Final = 3
_PAIR: Final = 1.0
"""How long a call that holds one slot waits for its second, in seconds. A limit of one request at a time never gives two."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    {
        "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "cookie",
        "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "referer", "te", "trailer",
        "transfer-encoding", "upgrade", "x-csrftoken",
    }
)  # fmt: skip
"""Headers that decide where a request goes, where it ends, and who sends it. A hook adds none of them."""
_CANCELLED: Final = Lost("cancelled")

Limiter: TypeAlias = RateLimiter | Literal["shared"] | None


@attrs.frozen(kw_only=True)
class Options:
    """What may differ between two views of one session."""

    retry: RetryPolicy
    timeout: Timeout
    enforce_scopes: bool
    hooks: tuple[Hook, ...]
    priority: Priority | None = None
    """None: single calls are interactive, those of bulk runs are bulk."""


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
    locks: EnvironmentLocks = attrs.field(factory=EnvironmentLocks)
    """Shared with all clients of the event loop once the session is open."""
    replaced: ReplacedTokens = attrs.field(factory=ReplacedTokens)
    pairing: dict[Priority, anyio.Lock] = attrs.field(factory=lambda: {"interactive": anyio.Lock(), "bulk": anyio.Lock()})
    """Held while a call waits for two slots: of two that held one each, both would wait."""
    _headers: dict[tuple[bool, bool], dict[str, str]] = attrs.field(factory=dict[tuple[bool, bool], dict[str, str]])

    def headers(self, *, unsafe: bool, body: bool) -> dict[str, str]:
        """The headers of a request, made once for each kind."""
        kind = unsafe, body
        if kind not in self._headers:
            headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
            if not unsafe:
                # A read often decides what is written next, so no cache may answer it.
                headers["Cache-Control"] = "no-cache"
            if body:
                headers["Content-Type"] = "application/json"
            self._headers[kind] = headers | self.credential.headers(unsafe=unsafe, origin=self.origin)
        return self._headers[kind]


@attrs.frozen
class Request:
    """One request to be sent: what a probe or a look asks differs from what the call asks."""

    endpoint: Endpoint
    path: str
    body: bytes | None = None
    ready: Callable[[], Awaitable[float | None]] | None = None
    """Asked when the limit lets it leave: until what time of the event loop it may, None for any. Raises where it must not."""
    stoppable: bool = False
    """The call has no effect so far, so a stop of its run ends it before this request."""


class Sender:
    """Sends the requests of one call.

    Attributes:
        attempts: What the call has been through, for the decision what follows.
        stop: Ends the waits of a stoppable request; None where the call belongs to no run.
        sent: How many requests have left, or tried to.
        waited: Seconds spent waiting, for the limit and between attempts.
    """

    def __init__(self, host: Host, options: Options, call: Call[Any], place: Place, stop: Stop | None = None) -> None:
        self._host = host
        self._options = options
        self._call = call
        self._place = place
        self._started = 0.0 if options.retry.deadline is None else anyio.current_time()
        self.attempts: Attempts = Attempts()
        self.stop = stop
        self.sent: int = 0
        self.waited: float = 0.0
        self._asked: list[str] = []
        self._reserved: list[Slot] = []

    async def reserve_two(self, *, stoppable: bool) -> None:
        """Hold two slots, so that a write can leave right after the look before it.

        Where the limit gives no second one soon, the write will have to wait for it.

        Args:
            stoppable: A stop of the run ends the wait.

        Raises:
            StoppedError: The run is stopped.
        """
        await self.unless_stopped(self._reserve_two(), stoppable=stoppable)

    async def _reserve_two(self) -> None:
        limiter = self._host.limiter
        if limiter is None or self._reserved:
            return
        pairing, longest = self._host.pairing[self._priority], self.longest_wait()
        with anyio.move_on_after(longest):
            async with pairing:
                self._reserved.append(await self._slot(limiter))
                with anyio.move_on_after(_PAIR):
                    self._reserved.append(await self._slot(limiter))
                return
        raise self.too_long(longest or 0.0)

    def release(self) -> None:
        """Give back the slots that were not needed."""
        while self._reserved and self._host.limiter is not None:
            self._host.limiter.not_sent(self._reserved.pop())

    @property
    def _priority(self) -> Priority:
        return self._options.priority or "interactive"

    async def deliver(self, request: Request) -> Delivery:
        """One request, and a few more if the same server redirects it with verb and body kept.

        A call that must run only once is never redirected: the redirect may come from a proxy, after the effect.
        """
        asked = request.path
        for _ in range(_MAX_REDIRECTS):
            delivery = await self._attempt(request, asked)
            if not isinstance(delivery, Redirected):
                return delivery
            target = None if request.endpoint.repeat is Repeat.NEVER else self._redirect(delivery.reply, request)
            if target is None:
                return Refused(delivery.reply, genuine=False)
            if request.endpoint.reads:
                self._host.routes.succeed(request.endpoint, self._place, target)
            request = attrs.evolve(request, path=target, stoppable=False)  # who redirects may have done it before
        delivery = await self._attempt(request, asked)
        return Refused(delivery.reply, genuine=False) if isinstance(delivery, Redirected) else delivery

    def _redirect(self, reply: Reply, request: Request) -> str | None:
        """The path a redirect leads to; None where it must not be followed."""
        location = reply.headers.get("Location", "")
        try:
            target = urlsplit(urljoin(self._host.origin + request.path, location))
        except ValueError:
            return None
        if f"{target.scheme}://{target.netloc}".lower() != self._host.origin or not location.isascii():
            return None
        routes, there = self._host.routes, target.path.rstrip("/")
        if there not in _paths(request.endpoint, self._place):
            return None
        # On all but the newest servers this would delete the whole project.
        whole_project = request.endpoint.destroys and there == path("project", request.endpoint, self._place).rstrip("/")
        if whole_project and routes.era is not Era.D and routes.routes != "project":
            return None
        return target.path + (f"?{target.query}" if target.query else "")

    async def _attempt(self, request: Request, asked: str) -> Delivery:
        """Exactly one request, within the limit.

        Args:
            request: What to send.
            asked: The path that was asked, where this request follows a redirect.
        """
        limiter, hooks = self._host.limiter, self._options.hooks
        slot = None
        if limiter is not None:
            reserved = self._reserved.pop(0) if self._reserved else None
            slot = reserved or await self.unless_stopped(self._slot(limiter), stoppable=request.stoppable)
        headers = self._host.headers(unsafe=not request.endpoint.reads, body=request.body is not None)
        started: AttemptStarted | None = None
        began = 0.0
        delivery: Delivery = NotSent("it was not allowed to leave")
        try:
            stop = self.stop if request.stoppable else None
            if stop is not None:
                stop.check()
            if (left := self.time_left()) is not None and left <= 0:
                raise NotSentError(f"The deadline of {self._options.retry.deadline:g} s had passed before it could be sent.")
            leave_by = None if request.ready is None else await request.ready()
            if stop is not None:
                stop.check()
            self.sent += 1
            if hooks:
                started, began = self._started_now(request, asked), anyio.current_time()
                headers = _with_added(headers, started.headers)
            delivery = _CANCELLED
            answer = await self._host.transport.send(
                request.endpoint.verb,
                request.path,
                headers=headers,
                body=request.body,
                timeout=self._timeout(),
                leave_by=leave_by,
                stopped=None if stop is None else lambda: stop.is_set,
            )
            if stop is not None and isinstance(answer, NotSent):
                delivery = answer
                stop.check()
            limited = self._host.credential.limited_by_server
            delivery = classify(answer, limited=limited) if isinstance(answer, Reply) else answer
        finally:
            if limiter is not None and slot is not None:
                _give_back(limiter, slot, delivery)
            if started is not None:
                self.tell(_finished(started, delivery, anyio.current_time() - began))
        self.attempts.count(delivery)
        if isinstance(answer, Reply) and "Deprecation" in answer.headers:
            self._note_deprecation(request, answer)
        return delivery

    async def _slot(self, limiter: RateLimiter) -> Slot:
        waiting = limiter.acquire(ceiling=self.longest_wait(), priority=self._priority)
        try:
            slot = await self._within_deadline(waiting, "the rate limit")
        except RateLimitWaitTooLong as error:
            raise self.too_long(error.retry_after) from None
        if slot.waited:
            self.waited += slot.waited
            name, environment_id = self._call.endpoint.name, self._place.environment_id
            try:
                self.tell(LimiterWaited(endpoint=name, environment_id=environment_id, seconds=slot.waited))
            except BaseException:
                limiter.not_sent(slot)
                raise
        return slot

    async def unless_stopped(self, waiting: Awaitable[T], *, stoppable: bool) -> T:
        """Wait; where a stop may end the call, at most until then.

        Raises:
            StoppedError: The run is stopped.
        """
        return await waiting if self.stop is None or not stoppable else await self.stop.unless_set(waiting)

    async def take(self, lock: anyio.Lock, held_by: str) -> None:
        """Take a lock that other calls hold, until the deadline at the longest.

        Raises:
            NotSentError: The deadline has come.
        """
        await self._within_deadline(lock.acquire(), held_by)

    async def acquire_turn(self, lock: anyio.Lock) -> None:
        """Take the lock of the environment, until the deadline at the longest.

        Raises:
            NotSentError: The deadline has come.
        """
        await self.take(lock, "another write to the environment")

    async def _within_deadline(self, waiting: Awaitable[T], waited_for: str) -> T:
        left = self.time_left()
        if left is None:
            return await waiting
        try:
            with anyio.fail_after(left):
                return await waiting
        except TimeoutError:
            deadline = self._options.retry.deadline
            words = f"The deadline of {deadline:g} s came while it waited for {waited_for}. It was not sent."
            raise NotSentError(words) from None

    def too_long(self, wait: float) -> RateLimitWaitTooLong:
        """The error for a wait that the policy does not allow.

        Args:
            wait: Seconds.
        """
        longest, left = self.longest_wait() or 0.0, self.time_left()
        return RateLimitWaitTooLong(retry_after=wait, ceiling=longest, deadline=left is not None and left <= longest)

    def time_left(self) -> float | None:
        """Seconds until the deadline; None without one."""
        deadline = self._options.retry.deadline
        return None if deadline is None else max(0.0, self._started + deadline - anyio.current_time())

    def longest_wait(self) -> float | None:
        """The longest wait for the rate limit that is allowed now; None for any."""
        ceiling, left = self._options.retry.wait_ceiling, self.time_left()
        if ceiling is None or left is None:
            return left if ceiling is None else ceiling
        return min(ceiling, left)

    def _timeout(self) -> Timeout:
        timeout, left = self._options.timeout, self.time_left()
        if left is None or left >= timeout.total:
            return timeout
        return attrs.evolve(timeout, total=max(left, 0.001))

    def _note_deprecation(self, request: Request, reply: Reply) -> None:
        """Take the successor path that the server names from now on, and report it once per path."""
        routes, place, headers = self._host.routes, self._place, reply.headers
        successor = successor_of(", ".join(reply.all("Link")))
        followed = successor is not None and routes.succeed(request.endpoint, place, successor)
        if followed:
            routes.known(Era.C)
        here = _anonymous(request.path, place)
        if here in routes.deprecated:
            return
        routes.deprecated.add(here)
        event = DeprecationSeen(
            path=here,
            successor=None if successor is None else printable(_anonymous(successor, place)),
            sunset=printable(headers["Sunset"]) if "Sunset" in headers else None,
            followed=followed,
        )
        then = "calls now use the successor" if followed else "calls stay as they are"
        log.warning("PostHog announces the end of %s (sunset %s, successor %s): %s", here, event.sunset, event.successor, then)
        self.tell(event)

    def _started_now(self, request: Request, asked: str) -> AttemptStarted:
        """Tell the hooks that a request is about to leave."""
        name = request.endpoint.name
        event = AttemptStarted(
            endpoint=name,
            environment_id=self._place.environment_id,
            attempt=self.sent,
            resend=self._asked.count(name),
            host=self._host.origin,
            verb=request.endpoint.verb,
            path=_anonymous(asked, self._place),
        )
        self._asked.append(name)
        self.tell(event)
        return event

    def tell(self, event: Event) -> None:
        """Tell the hooks."""
        tell(self._options.hooks, event)


def _paths(endpoint: Endpoint, place: Place) -> set[str]:
    """The paths of a call in all styles, without the last slash."""
    paths: set[str] = set()
    for style in get_args(Style):
        with contextlib.suppress(ConfigurationError):  # nested, and no project is named
            paths.add(path(style, endpoint, place).rstrip("/"))
    return paths


def _finished(started: AttemptStarted, delivery: Delivery, seconds: float) -> AttemptFinished:
    reply = getattr(delivery, "reply", None)
    return AttemptFinished(
        endpoint=started.endpoint,
        environment_id=started.environment_id,
        attempt=started.attempt,
        outcome="cancelled" if delivery is _CANCELLED else type(delivery).__name__.lower(),
        status=reply.status if isinstance(reply, Reply) else None,
        seconds=seconds,
        started=started,
    )


def _with_added(own: dict[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request with those that hooks have added."""
    if not added:
        return own
    taken = _OURS | {name.lower() for name in own}
    merged = dict(own)
    for name, value in added.items():
        if name.lower() not in taken and _HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable():
            merged[name] = value
        else:
            log.warning("A hook has added the header %r, which cannot be sent or is the client's own; it is left out", name)
    return merged


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
