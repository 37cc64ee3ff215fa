"""One call on its way: find the URL style, then per attempt the limit, one request, and the decision what follows.

Where a write is compared with what it is to replace, it is sent right after the look: two slots of the limit are held before
that, and where a second has passed nevertheless, also before a repeat, it is looked at again. What is about to be sent is
written down once the limit lets it through, so that little is in doubt where the process dies.

Who may say no: only PostHog's own error proves that a write was not done. For a call that must run only once, any other error
is a lost response. Who may say yes: a success counts only if it shows the effect. A response that shows what the call was to
replace, or that describes another environment, is stale or crossed, and counts as lost too.
"""

import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import anyio
import attrs

from aioposthog_env import recovery
from aioposthog_env.api import calls, replies
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import CREATE, RETRIEVE, UPDATE, Repeat, ReplyKind, Target
from aioposthog_env.api.era import Era
from aioposthog_env.api.routes import (
    TEAM_SCOPE,
    Place,
    Style,
    judge,
    path,
    probe_of,
)
from aioposthog_env.errors import (
    ClientStateError,
    DecodeError,
    InvalidSettingsError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PermissionDeniedError,
    PostHogEnvError,
    StateChangedError,
    TransportError,
)
from aioposthog_env.lost_create import LostCreate, created_another, earliest_creation
from aioposthog_env.models.environment import Environment
from aioposthog_env.policy.delivery import (
    Answered,
    Delivery,
    Lost,
    NotSent,
    Refused,
    Reply,
    Throttled,
)
from aioposthog_env.policy.retry import Again, Attempts, ReadBack, decide
from aioposthog_env.policy.retry_after import http_date
from aioposthog_env.probing import learn_era, probe_styles
from aioposthog_env.sending import Host, Options, Request, Sender
from aioposthog_env.stop import Stop, StoppedError
from aioposthog_env.telemetry import (
    ReadBackDecided,
    RetryScheduled,
    StyleFound,
    log,
)

_FRESH: Final = 1.0
"""How old a look may be when the call leaves, in seconds."""
_MOST_LOOKS: Final = 4
"""A limit of one request in a while never lets two leave together; then the last look counts, however old it is."""


class _LookFirst(Exception):  # noqa: N818  it is no error
    """What the call is to replace was read too long ago to be sent now."""


class Exchange:
    """One call on its way.

    Args:
        host: What all calls to the host share.
        options: How this call is made.
        call: What to send.
        place: To which environment, or into which collection.
        before_write: What has to be done before a write leaves.
        style: The URL style; None for the one that the host takes.
        stop: The stop of the run that the call belongs to; None for none.

    Attributes:
        style_found: Called once the style, and with it the era, was found out.
        sender: Sends its requests, and knows how many there were.
        already_done: The environment was found as the call would leave it, so it was not sent.
    """

    def __init__(
        self,
        host: Host,
        options: Options,
        call: Call[Any],
        place: Place,
        before_write: recovery.BeforeWrite | None = None,
        style: Style | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._host = host
        self._options = options
        self._call = call
        self._place = place
        self.sender: Sender = Sender(host, options, call, place, stop)
        self.already_done: bool = False
        self._before_write = before_write
        self._style: Style | None = style
        self.style_found: Callable[[], Awaitable[None]] | None = None
        self._doubt = None if before_write is None else before_write.doubt
        self._sent_at = 0.0
        self._looked_at = 0.0
        self._looks = 0
        self._compares = False
        self._trusted_until: float | None = None
        self._seen: Environment | None = None
        self._reading: Style | None = None
        self._before: recovery.Marks | None = None
        self._looked = call.endpoint.reads
        self._resent = False
        self._written = False
        self._answered = False

    @property
    def no_effect(self) -> bool:
        """Whether the write was tried and certainly not done: each time it was refused, or never left."""
        in_doubt = self._before_write is not None and self._before_write.doubt is not None
        return self._written and not self._answered and not self.sender.attempts.uncertain and not in_doubt

    @property
    def _stoppable(self) -> bool:
        """Whether a stop of the run still ends the call: nothing can have happened so far."""
        return not self._written or self.no_effect

    @property
    def _effect(self) -> str:
        """What has to be said of a call that may have taken effect, whatever ended it."""
        endpoint = self._call.endpoint
        repeatable = not endpoint.reads and endpoint.repeat is not Repeat.NEVER
        uncertain = self._written and not self._answered and self.sender.attempts.uncertain
        return " It may have taken effect; calling again is safe." if repeatable and uncertain else ""

    async def run(self) -> Reply:
        """Send until a decision ends it.

        Returns:
            The reply of success.
        """
        try:
            return await self._run()
        except OutcomeUnknownError:
            raise
        except PostHogEnvError as error:
            error.message += self._effect
            raise
        finally:
            self.sender.release()

    async def _run(self) -> Reply:
        call, place, routes = self._call, self._place, self._host.routes
        refused_style: Style | None = None
        while True:
            style: Style | None = routes.style_for(call.endpoint, place) if self._style is None else self._style
            if style is None:
                style, reply = await self._find_style()
                if reply is not None:
                    return reply
                if self.style_found is not None:
                    await self.style_found()
            if not self._looked and (done := await self._look_first(style)) is not None:
                return done
            self._check_null_dashboard()
            ready, body = None if call.endpoint.reads else self._ready, self._body()
            try:
                delivery = await self.sender.deliver(
                    Request(call.endpoint, path(style, call.endpoint, place) + call.query, body, ready, self._stoppable)
                )
            except _LookFirst:
                self._looked = False
                continue
            if isinstance(delivery, Answered) and (doubt := self._why_not_done(delivery.reply)) is not None:
                delivery = Lost(f"status {delivery.reply.status} came with a response that {doubt}", delivery.reply.status)
                self.sender.attempts.uncertain = self.sender.attempts.lost = True
            if isinstance(delivery, Answered):
                self._answered = True
                self._host.budget.give_back()
                if call.endpoint is RETRIEVE and routes.era is Era.UNKNOWN:
                    learn_era(routes, delivery.reply, style)
                if self._reading is not None:
                    return await self._showing_the_effect(delivery.reply, style)
                self._remember_replaced()
                return delivery.reply
            if isinstance(delivery, Refused):
                reply = delivery.reply
                if self.sender.attempts.lost and replies.absorbed(call.endpoint, style, reply.status, reply.body):
                    return attrs.evolve(reply, body=b"")
                if self._learn_team_scope(reply, body):
                    continue
                verdict = judge(style, status=reply.status, opening=reply.opening)
                # If the same style is found again, this server does not have the action.
                believed = delivery.genuine or call.endpoint.reads
                renewable = self._style is None and style != refused_style and believed
                if renewable and routes.gone(call.endpoint, place, verdict):
                    refused_style = style
                    continue
            if (reply := await self._go_round(delivery, call.endpoint.repeat, style)) is not None:
                return reply

    def _why_not_done(self, reply: Reply) -> str | None:
        """Return why a success does not prove that the write was done, as words after "a response that"; None if it does."""
        endpoint, place = self._call.endpoint, self._place
        if endpoint.reads:
            return None
        if reply.status not in endpoint.success and (endpoint.repeat is Repeat.NEVER or endpoint.reply is ReplyKind.NOTHING):
            return f"PostHog does not send here: it answers {', '.join(map(str, sorted(endpoint.success)))}"
        if endpoint.repeat is not Repeat.NEVER and endpoint not in recovery.SHOWS_EFFECT:
            return None
        try:
            seen = replies.decode_success(endpoint, reply.body, place.environment_id)
        except DecodeError as error:
            return f"cannot be read: {error}" if endpoint.repeat is Repeat.NEVER else None
        if endpoint is CREATE:
            date, passed = http_date(reply.headers.get("Date")), anyio.current_time() - self._sent_at
            name = None if self._call.asked is None else self._call.asked.name
            return created_another(name, place, seen, earliest_creation(date, datetime.now(UTC), passed))
        shown = recovery.shows_effect(endpoint, self._before, seen, self._host.replaced)
        if shown is None and self._before is not None and self._reading is None and isinstance(seen, Environment):
            return "does not show what the call was to replace"
        return "still shows what the call was to replace" if shown is False else None

    def _body(self) -> bytes | None:
        """The body, with a read-only key if the server asks for a scope that no key has to change config settings alone.

        PostHog 2025-08 asks for ``project:write`` as soon as one key of the body is not a config setting. It ignores the id.
        """
        call = self._call
        if call.endpoint is not UPDATE or not self._host.routes.asks_for_team_scope or call.body is None:
            return call.body
        return b'{"id":%d,' % cast("int", self._place.environment_id) + call.body.lstrip()[1:]

    def _check_null_dashboard(self) -> None:
        """Refuse ``primary_dashboard: null`` on a server that is known to crash at it (PostHog 2024-10 and 2025-08).

        Raises:
            InvalidSettingsError: Nothing was sent.
        """
        asked = self._call.asked
        if asked is not None and asked.primary_dashboard is None and self._host.routes.null_dashboard_crashes:
            raise InvalidSettingsError(
                [("primary_dashboard", "PostHog of this version crashes at null; give another dashboard")]
            )

    def _learn_team_scope(self, reply: Reply, body: bytes | None) -> bool:
        """Return whether an update was refused for a scope that no key can have, and take note of it.

        Args:
            reply: The refusal.
            body: The body that was refused.
        """
        if self._call.endpoint is not UPDATE or body is not self._call.body or TEAM_SCOPE not in reply.opening:
            return False
        self._host.routes.asks_for_team_scope = True
        return True

    async def _ready(self) -> float | None:
        """The limit lets the write leave: write down what is about to be sent, and ask whether it still may."""
        before_write, now = self._before_write, anyio.current_time()
        stale = self._compares and now - self._looked_at > _FRESH and self._looks < _MOST_LOOKS
        if stale if self._trusted_until is None else now > self._trusted_until:
            raise _LookFirst
        if before_write is not None and before_write.record is not None and not self._written:
            await before_write.record(self._seen, self._before)
        self._written = True
        self._sent_at = now
        return None if before_write is None or before_write.fence is None else await before_write.fence()

    async def _look_first(self, style: Style) -> Reply | None:
        """Before a write: what an earlier process has left open, what the call will change, and whether it is as planned.

        Returns:
            The answer, where nothing is left to do.
        """
        call, before_write, self._looked = self._call, self._before_write, True
        doubt, self._doubt = self._doubt, None
        if doubt is not None and (done := await self._resolve(doubt, style)) is not None:
            self.already_done = True
            return done
        marks = call.endpoint in recovery.LEAVES_MARKS and (self._options.retry.read_back or before_write is not None)
        wanted = before_write is not None and (before_write.read or before_write.check is not None)
        self._compares = bool(call.expected or call.expected_settings or wanted)
        trusted = -math.inf if before_write is None or doubt is not None else before_write.fresh_until
        self._trusted_until = trusted if self._compares and anyio.current_time() <= trusted else None
        if not (marks or self._compares) or self._trusted_until is not None:
            return None
        if self._compares:
            await self.sender.reserve_two(stoppable=self._stoppable)
        reply = await self._look(style, marks=marks)
        self._looked_at, self._looks = anyio.current_time(), self._looks + 1
        found = self._compared(http_date(reply.headers.get("Date")))
        # What is done after a request of this very call was done by that, as far as can be told.
        self.already_done = found is recovery.Comparison.DONE and not self._written
        return reply if found is recovery.Comparison.DONE else None

    def _remember_replaced(self) -> None:
        """The call has replaced the token that was read before it: an environment that still shows it is an older copy."""
        token = None if self._before is None else recovery.current(self._before)
        if token is not None:
            self._host.replaced.add(token)

    async def _look(self, style: Style, *, marks: bool) -> Reply:
        """Read the environment and keep what was seen, again while a copy shows a token that this client has replaced.

        Raises:
            StateChangedError: Only the older copy was seen until the settle time was over.
        """
        settle, left = self._options.retry.settle, self.sender.time_left()
        until = anyio.current_time() + (settle if left is None else min(settle, left))
        while True:
            reply = await self._look_once(style, marks=marks)
            token = None if self._before is None else recovery.current(self._before)
            if token is None or token not in self._host.replaced:
                return reply
            if anyio.current_time() >= until:
                how = "the server still shows a token that this client has replaced, so a cache or a lagging replica answers"
                raise self._changed(how, "Try again in a minute.")
            await anyio.sleep(recovery.FIRST_PAUSE)

    async def _look_once(self, style: Style, *, marks: bool) -> Reply:
        """Read the environment and keep what was seen."""
        reply = await self._read_safely(style)
        learn_era(self._host.routes, reply, style)
        self._take_note(reply)
        if self._before is None and marks and style == "project":
            # Up to 2025 the project path does not show the secret, and the root path does.
            self._reading = "root"
            with contextlib.suppress(NotFoundError, PermissionDeniedError):
                reply = await self._read_safely(style)
                self._take_note(reply)
        return reply

    async def _showing_the_effect(self, reply: Reply, style: Style) -> Reply:
        """The environment as it is read after a token call through a path that hides what was changed.

        Raises:
            OutcomeUnknownError: No read shows that the call took effect.
        """
        if self._before is None:
            return reply
        left, patience = self.sender.time_left(), self._options.retry.settle_after_500
        seen = await self._watch(self._before, style, patience if left is None else min(patience, left), [])
        if seen.verdict is not recovery.Verdict.HAPPENED:
            raise self._unknown(seen.verdict, [f"status {reply.status} came without the token", *seen.observations])
        self._remember_replaced()
        return cast("Reply", seen.environment)

    def _take_note(self, reply: Reply) -> None:
        """Keep what was read before the call."""
        seen: Environment = replies.decode_success(RETRIEVE, reply.body, self._place.environment_id)
        self._seen, self._before = seen, recovery.marks(self._call.endpoint, seen)

    async def _read_safely(self, style: Style) -> Reply:
        """Read the environment, again where that fails."""
        earlier = attrs.evolve(self.sender.attempts)
        while True:
            delivery = await self._read_environment(style)
            if isinstance(delivery, Answered):
                self.sender.attempts = earlier
                return delivery.reply
            await self._go_round(delivery, Repeat.SAFE, style)

    def _compared(self, now: datetime | None) -> recovery.Comparison:
        """The environment that was read, held against what the call is to replace, and against what the caller wants.

        Args:
            now: The server's clock.

        Raises:
            StateChangedError: It is neither as planned nor as the call would leave it.
        """
        call, seen, before_write = self._call, cast("Environment", self._seen), self._before_write
        if before_write is not None and before_write.check is not None:
            found = before_write.check(seen, now)
            if found is not recovery.Comparison.ACT:
                return found
        if call.endpoint is UPDATE and call.asked is not None:
            found = recovery.compare_settings(call.asked, call.expected_settings, seen.settings, self._host.routes.era.name)
            if found is recovery.Comparison.CHANGED:
                raise self._changed("a setting that is to be changed has another value by now", "Make a new plan.")
            return found
        if call.expected is None:
            return recovery.Comparison.ACT
        if self._before is None:
            raise StateChangedError(
                "The answer does not show what is to be replaced, so it cannot be compared. Nothing was sent."
            )
        found = recovery.compare(call.expected, self._before)
        if found is recovery.Comparison.CHANGED:
            raise self._changed("neither its secret nor its backup is the expected one", "Read it again and make a new plan.")
        return found

    def _changed(self, how: str, remedy: str) -> PostHogEnvError:
        """The error for an environment that is neither as planned nor as the call would leave it."""
        if self._written and self.sender.attempts.uncertain:
            return self._unknown(None, ["an answer was lost", f"by now {how}"])
        return StateChangedError(f"The environment is no longer as it was planned with: {how}. Nothing was sent. {remedy}")

    async def _resolve(self, doubt: recovery.Doubt, style: Style) -> Reply | None:
        """What became of a call that a process which is gone may have sent.

        Returns:
            The environment, where it happened; None where the call may be sent now.

        Raises:
            OutcomeUnknownError: It cannot be told.
        """
        endpoint, policy = self._call.endpoint, self._options.retry
        if endpoint.repeat is not Repeat.NEVER:
            # What another login cannot see is not therefore deleted.
            self.sender.attempts.uncertain = self.sender.attempts.lost = not doubt.another_login
            return None
        if doubt.happened:
            return await self._what_happened(doubt, style)
        observations = [f"an earlier run may have sent it {doubt.age:.0f} s ago"]
        if doubt.before is None:
            if doubt.unsent:
                return None
            raise self._unknown(None, observations)
        # The whole settle time from now on: when it left last, no clock that can be set is to tell.
        seen = await self._watch(doubt.before, style, 0.0 if doubt.unsent else policy.settle, observations)
        observations += seen.observations
        if seen.verdict is recovery.Verdict.HAPPENED:
            self._tell_decision(seen.verdict, "done", observations)
            return cast("Reply", seen.environment)
        if seen.verdict is not recovery.Verdict.UNCHANGED or not (policy.resend_after_settle or doubt.unsent):
            raise self._unknown(seen.verdict, observations)
        self._tell_decision(seen.verdict, "send again", observations)
        return None

    async def _what_happened(self, doubt: recovery.Doubt, style: Style) -> Reply:
        """The environment after a call that is known to have taken effect.

        Raises:
            StateChangedError: It shows what the call has replaced.
        """
        reply = await self._look(style, marks=True)
        shown = None if self._before is None else recovery.current(self._before)
        # Neither the token that the call has replaced nor, as an older copy shows it, the one before.
        if doubt.before is not None and shown in doubt.before.values():
            raise StateChangedError(
                "The environment shows what was there before. Somebody may have put that back; or the server reads from a copy "
                "that is late, so resume once more."
            )
        return reply

    async def _read_environment(self, style: Style) -> Delivery:
        where = path(self._reading or style, RETRIEVE, self._place)
        return await self.sender.deliver(Request(RETRIEVE, where, stoppable=self._stoppable))

    async def _read_back(self, delivery: recovery.UnclearDelivery, style: Style | None) -> Reply | None:
        """After a lost answer: look what became of the call.

        Returns:
            The environment as the result; None where the call is to be sent once more.

        Raises:
            OutcomeUnknownError: It cannot be told.
        """
        endpoint, policy = self._call.endpoint, self._options.retry
        observations = [recovery.how_lost(delivery)]
        if endpoint is CREATE and style is not None and policy.read_back:
            name = None if self._call.asked is None else self._call.asked.name
            observations.append(await LostCreate(self.sender, self._place, style, name, self._sent_at).candidates())
        if self._before is None or style is None or not policy.read_back:
            raise self._unknown(None, observations)
        over = recovery.handler_is_over(delivery)
        settle = policy.settle_after_500 if over else policy.settle
        left = self.sender.time_left()
        patience = settle if left is None else min(settle, left)

        log.info("%s of environment %s: %s; reading back", endpoint.name, self._place.environment_id, observations[0])
        seen = await self._watch(self._before, style, patience, observations)
        observations += seen.observations
        if seen.verdict is recovery.Verdict.HAPPENED:
            self._remember_replaced()
            self._tell_decision(seen.verdict, "done", observations)
            return cast("Reply", seen.environment)
        settled = (over or policy.resend_after_settle) and patience == settle
        may_resend = settled and not self._resent and policy.max_attempts > 1
        if seen.verdict is not recovery.Verdict.UNCHANGED or not may_resend:
            raise self._unknown(seen.verdict, observations)
        self._resent = True
        self._tell_decision(seen.verdict, "send again", observations)
        return None

    def _unknown(self, verdict: recovery.Verdict | None, observations: Sequence[str]) -> OutcomeUnknownError:
        """The error for a call of which it cannot be told whether it happened."""
        self._tell_decision(verdict, "unknown", observations)
        return recovery.outcome_unknown(self._call.endpoint.name, observations)

    def _tell_decision(self, verdict: recovery.Verdict | None, decision: str, observations: Sequence[str]) -> None:
        self.sender.tell(
            ReadBackDecided(
                endpoint=self._call.endpoint.name,
                environment_id=self._place.environment_id,
                verdict=None if verdict is None else verdict.value,
                decision=decision,
                observations=tuple(observations),
            )
        )

    async def _watch(self, before: recovery.Marks, style: Style, patience: float, so_far: Sequence[str]) -> recovery.Watch:
        """Look at the environment until something has changed or the patience is over.

        Raises:
            OutcomeUnknownError: The client was closed meanwhile.
        """

        async def read() -> tuple[Environment, Reply] | None:
            try:
                found = await self._read_environment(style)
                if not isinstance(found, Answered):
                    return None
                seen: Environment = replies.decode_success(RETRIEVE, found.reply.body, self._place.environment_id)
            except ClientStateError:
                raise self._unknown(None, [*so_far, "the client was closed before it could be looked at"]) from None
            except StoppedError:
                raise
            except PostHogEnvError:
                return None  # the call itself may have happened, which this error would hide
            if self._reading is None and style == "project" and recovery.marks(self._call.endpoint, seen) is None:
                self._reading = "root"
                return await read()
            return seen, found.reply

        return await recovery.watch(self._call.endpoint, before, read, patience, self._host.replaced)

    async def ask_once(self) -> Reply | None:
        """Send once, without repeats. None where no good answer came."""
        endpoint = self._call.endpoint
        delivery = await self.sender.deliver(Request(endpoint, path("project", endpoint, self._place), stoppable=True))
        return delivery.reply if isinstance(delivery, Answered) else None

    async def _find_style(self) -> tuple[Style, Reply | None]:
        """Ask for the environment in one style after the other, one task at a time.

        Returns:
            The style to use; and the answer, where the probe was the very call.
        """
        endpoint, place, routes = self._call.endpoint, self._place, self._host.routes
        attempts = self.sender.attempts
        uncertain, lost = self._written and attempts.uncertain, self._written and attempts.lost
        await self.sender.take(self._host.finding, "another call that finds out the URL style")
        try:
            if (style := routes.style_for(endpoint, place)) is not None:
                return style, None  # another task has found it meanwhile
            while True:
                before = attrs.evolve(self.sender.attempts)
                style, delivery = await probe_styles(self.sender, self._call, place, routes, stoppable=self._stoppable)
                if style is not None:
                    break
                # A round over the styles is one attempt.
                self.sender.attempts = before
                self.sender.attempts.count(delivery)
                # A 5xx was no refusal of a style, since no other style answered: it is a server in trouble.
                await self._go_round(delivery, Repeat.SAFE, None)
            self.sender.attempts = Attempts(uncertain=uncertain, lost=lost)
            if isinstance(delivery, Refused) and delivery.reply.status == 401:
                raise self._error(delivery)
            if isinstance(delivery, Answered) and endpoint.target is Target.ENVIRONMENT:
                learn_era(routes, delivery.reply, style)
            style = routes.settle(endpoint, place, style)
            self.sender.tell(StyleFound(host=self._host.origin, style=style, era=routes.era.value))
            if not isinstance(delivery, Answered):
                # A genuine refusal: what the credential cannot read, it cannot change.
                raise self._error(delivery)
            return style, delivery.reply if endpoint is probe_of(endpoint) else None
        finally:
            self._host.finding.release()

    async def _go_round(self, delivery: Delivery, repeat: Repeat, style: Style | None) -> Reply | None:
        """Wait until it may be sent again.

        Returns:
            The answer, where reading back has given it; else None: send again.

        Raises:
            PostHogEnvError: It may not.
        """
        decision = decide(delivery, repeat=repeat, attempts=self.sender.attempts, policy=self._options.retry)
        if isinstance(decision, ReadBack):
            return await self._read_back(cast("recovery.UnclearDelivery", delivery), style)
        if not isinstance(decision, Again) or (decision.costs and not self._host.budget.spend()):
            raise self._error(delivery)
        longest = self.sender.longest_wait() if decision.asked else self.sender.time_left()
        if longest is not None and decision.wait > longest:
            if decision.asked:
                raise self.sender.too_long(decision.wait)
            raise self._error(delivery)
        event = RetryScheduled(
            endpoint=self._call.endpoint.name,
            environment_id=self._place.environment_id,
            attempt=self.sender.sent + 1,
            wait=decision.wait,
            reason=decision.reason,
        )
        log.info("%s of environment %s again in %.2f s: %s", event.endpoint, event.environment_id, event.wait, event.reason)
        self.sender.tell(event)
        before = anyio.current_time()
        await self.sender.unless_stopped(anyio.sleep(decision.wait), stoppable=self._stoppable)
        self.sender.waited += anyio.current_time() - before
        return None

    def _error(self, delivery: Delivery) -> PostHogEnvError:
        """The error that a delivery ends in."""
        origin = self._host.origin
        if isinstance(delivery, NotSent):
            changed = "" if self._effect else ", so nothing changed"
            return NotSentError(f"The request never left{changed}: {delivery.reason}. Is {origin} the right host?")
        if isinstance(delivery, Lost):
            return TransportError(f"No usable response came from {origin}: {delivery.reason}.")
        reply = delivery.reply
        retry_after = delivery.retry_after if isinstance(delivery, Throttled) else None
        return replies.error_of(
            reply.status,
            reply.headers,
            reply.body,
            host=origin,
            retry_after=retry_after,
            hidden=[*calls.sensitive_texts(self._call.asked), *self._host.credential.hidden_texts()],
        )
