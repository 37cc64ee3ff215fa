"""The session: who calls which host under which policies, and the way of one call through it.

::

    call
     ├─ scopes          what the call needs against what the credential has; refused here, nothing is sent
     └─ exchange        until a decision ends it:
         ├─ style       which URL style this host takes; found out once, by reading
         ├─ limiter     wait for a slot, holding no connection
         ├─ transport   exactly one request, the body read whole
         └─ decide      return, wait and go round, read back, or raise

A session is bound to the event loop in which it was entered. ``with_options`` gives another view of the same session with
other policies: connections, limiter, retry budget and all that was found out about the host are shared.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import sha256
from typing import Any, Generic, Literal, TypeVar, cast

import anyio
import attrs

from aioposthog_env.api import calls, replies
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import UPDATE, WRITE, Endpoint
from aioposthog_env.api.era import Era
from aioposthog_env.api.routes import Place, RouteMemory, Routes, Style, check_routes
from aioposthog_env.api.scopes import Grant, needed_for_update, refusal
from aioposthog_env.auth import (
    Credential,
    OAuthToken,
    PersonalAPIKey,
    SessionCookie,
    credential_digest,
    credential_from_environment,
    resolve_host,
)
from aioposthog_env.environment_locks import shared_locks
from aioposthog_env.errors import (
    ClientStateError,
    ConfigurationError,
    DecodeError,
    NotSentError,
    PostHogEnvError,
    RateLimiterUnavailableError,
    RateLimitWaitTooLong,
    ScopeError,
    SettingsNotAppliedError,
)
from aioposthog_env.exchange import Exchange
from aioposthog_env.limiter import RateLimiter, shared_limiter
from aioposthog_env.models.comparing import not_applied
from aioposthog_env.models.converter import is_html
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.keys import KeyInfo
from aioposthog_env.models.settings import CONFIG_FIELDS_B
from aioposthog_env.policy.delivery import Reply
from aioposthog_env.policy.retry import RetryPolicy
from aioposthog_env.recovery import BeforeWrite
from aioposthog_env.sending import Host, Limiter, Options, Sender
from aioposthog_env.stop import Stop
from aioposthog_env.telemetry import Hook
from aioposthog_env.transport import TLS, Timeout, Transport

T = TypeVar("T")


@attrs.frozen
class Result(Generic[T]):
    """What a call gave, and what it took: requests, and seconds of waiting."""

    value: T
    attempts: int
    waited: float
    already_done: bool = False
    """Nothing was sent, because the environment was as the call would leave it."""
    not_applied: tuple[str, ...] = ()
    """Settings that could not be set although the rest was."""
    reason: Literal["not kept", "done earlier"] | None = None
    """What the outcome of a bulk run says beside its status."""
    date: str | None = None
    """The server's clock, as it wrote it in the header ``Date``."""
    digests: Mapping[str, str | None] | None = None
    """What was changed, as digests, where a worker made the call and kept the value to itself."""


@attrs.define
class _Access:
    """What is known of the credential, once it was asked for."""

    grant: Grant | None = None
    asking: anyio.Lock = attrs.field(factory=anyio.Lock)
    allowed: set[str] = attrs.field(factory=set[str])
    """Endpoints that may be called on any environment, whatever is sent."""


class PostHogSession:
    """An aiohttp session that knows PostHog: auth, scopes, URL styles, rate limits and repeats.

    ``AsyncEnvironments`` takes the same arguments and describes them.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        auth: Credential | None = None,
        routes: Routes = "auto",
        retry: RetryPolicy | None = None,
        timeout: Timeout | None = None,
        limiter: Limiter = "shared",
        enforce_scopes: bool = True,
        max_connections: int = 32,
        max_body: int = 16 * 2**20,
        ssl: TLS = None,
        proxy: str | None = None,
        trust_env: bool = False,
        allow_insecure_http: bool = False,
        hooks: Sequence[Hook] = (),
    ) -> None:
        origin = resolve_host(host, allow_insecure_http=allow_insecure_http)
        credential = credential_from_environment() if auth is None else auth
        if not isinstance(credential, PersonalAPIKey | OAuthToken | SessionCookie):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError("auth takes a PersonalAPIKey, an OAuthToken or a SessionCookie, not a bare value.")
        if not (limiter is None or limiter == "shared" or isinstance(limiter, RateLimiter)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError("limiter takes a RateLimiter, None for no limit, or 'shared'.")
        transport = Transport(
            origin,
            max_connections=max_connections,
            max_body=max_body,
            ssl=ssl,
            proxy=proxy,
            trust_env=trust_env,
            allow_insecure_http=allow_insecure_http,
        )
        self._host = Host(origin, credential, transport, RouteMemory(check_routes(routes)))
        self._limiter: Limiter = limiter
        self._access = _Access()
        self.options: Options = Options(
            retry=retry or RetryPolicy(),
            timeout=timeout or Timeout(),
            enforce_scopes=enforce_scopes,
            hooks=tuple(hooks),
        )

    def with_options(self, options: Options) -> "PostHogSession":
        """Another view of the same session."""
        other = object.__new__(PostHogSession)
        other.__dict__ = self.__dict__ | {"options": options}
        return other

    async def open(self) -> None:
        """Bind the session to the running event loop.

        Raises:
            ClientStateError: It was opened before.
        """
        host = self._host
        await host.transport.open()
        host.locks = shared_locks(host.origin)
        limiter = self._limiter
        digest = credential_digest(host.credential)
        if limiter == "shared":
            limiter = shared_limiter(host.origin, digest) if host.credential.limited_by_server else None
        if limiter is not None:
            identity = f"{host.origin} {digest}"
            try:
                await limiter.join(sha256(identity.encode()).hexdigest())
            except BaseException:
                await host.transport.close()
                raise
        host.limiter = limiter

    async def close(self) -> None:
        """Close all connections."""
        limiter, self._host.limiter = self._host.limiter, None
        try:
            await self._host.transport.close()
        finally:
            if limiter is not None:
                await limiter.leave()

    @property
    def origin(self) -> str:
        """The host that calls go to."""
        return self._host.origin

    @property
    def credential(self) -> Credential:
        """What proves who is calling."""
        return self._host.credential

    @property
    def era(self) -> Era:
        """Which generation of PostHog answers, as far as was seen."""
        return self._host.routes.era

    @property
    def routes(self) -> RouteMemory:
        """The URL styles of the host, as far as they are known."""
        return self._host.routes

    @property
    def limiter(self) -> RateLimiter | None:
        """The rate limiter in use; None before entering, and where there is none."""
        return self._host.limiter

    async def call(
        self,
        call: Call[T],
        place: Place,
        before_write: BeforeWrite | None = None,
        *,
        style: Style | None = None,
        alone: bool = False,
        stop: Stop | None = None,
    ) -> Result[T]:
        """Make a call. Writes to one environment go one after the other.

        Args:
            call: What to send.
            place: To which environment, or into which collection.
            before_write: What has to be done before a write leaves.
            style: The URL style; None for the one that this host takes.
            alone: The caller is alone with the environment already; see ``alone_with``.
            stop: Ends the call where it only waits to be sent; None where nothing does.

        Raises:
            PostHogEnvError: Any of the errors in ``errors``, naming the endpoint and the environment.
        """
        self._host.transport.check_state()
        exchange = Exchange(self._host, self.options, call, place, before_write, style, stop)
        check = partial(self._check_scopes, call, place, exchange.sender)
        try:
            if self.options.enforce_scopes and call.endpoint.name not in self._access.allowed:
                await check()
                if call.endpoint is UPDATE:
                    exchange.style_found = check  # with the style the era is known, and with that the scope
            if call.endpoint.reads or place.environment_id is None or alone:
                reply = await exchange.run()
            else:
                async with self._host.locks.hold(place.environment_id, exchange.sender.acquire_turn):
                    reply = await exchange.run()
            value = self._read(call, place, reply, already_done=exchange.already_done)
        except PostHogEnvError as error:
            error.about(call.endpoint.name, place.environment_id)
            error.attempts, error.waited = exchange.sender.sent, exchange.sender.waited
            error.no_effect = exchange.no_effect
            raise
        sender = exchange.sender
        # What was in doubt and is as the call would leave it was done by the session that may have sent it.
        earlier = exchange.already_done and before_write is not None and before_write.doubt is not None
        return Result(
            value,
            sender.sent,
            sender.waited,
            exchange.already_done,
            reason="done earlier" if earlier else None,
            date=reply.headers.get("Date"),
        )

    def alone_with(self, environment_id: int) -> AbstractAsyncContextManager[None]:
        """Let no other call of this event loop write to an environment, so that several calls belong together."""
        return self._host.locks.hold(environment_id)

    def _read(self, call: Call[T], place: Place, reply: Reply, *, already_done: bool) -> T:
        """The value of a success, held against what was asked."""
        endpoint = call.endpoint
        try:
            value = replies.decode_success(endpoint, reply.body, place.environment_id)
        except DecodeError as error:
            if is_html(reply.body):
                error.message += f"; is {self._host.origin} the right host?"
            if endpoint.reads or already_done:
                raise
            told = (
                f"The server answered {reply.status}, so it has probably taken effect; calling again is safe. What came with it"
            )
            raise DecodeError(f"{told} cannot be read: {error.message}", path=error.path) from None
        if (
            not already_done
            and call.asked is not None
            and isinstance(value, Environment)
            and (fields := not_applied(call.asked, value))
        ):
            raise SettingsNotAppliedError(fields=fields, environment=value, action_done=endpoint is not UPDATE)
        return cast("T", value)

    def check_kind(self, endpoint: Endpoint) -> None:
        """Refuse up front what this kind of credential can never do, whatever its scopes.

        Raises:
            ScopeError: The action takes a session only.
        """
        refused = refusal(endpoint, endpoint.scope, Grant(self.credential.kind), [])
        if self.options.enforce_scopes and refused is not None:
            error = ScopeError(f"Nothing was sent. {refused.message}", missing=refused.missing, credential=self.credential.kind)
            raise error.about(endpoint.name, None)

    async def _check_scopes(self, call: Call[Any], place: Place, sender: Sender) -> None:
        endpoint, kind = call.endpoint, self.credential.kind
        need = endpoint.scope
        if endpoint is UPDATE:
            team_scope = self._host.routes.asks_for_team_scope
            need = WRITE if team_scope else needed_for_update(call.fields, self.era, CONFIG_FIELDS_B)
        ids = [known for known in (place.environment_id, place.project_id) if known is not None]
        # What the kind of credential rules out needs no look at the key's record.
        grant = Grant(kind)
        refused = refusal(endpoint, need, grant, ids)
        if refused is None:
            grant = await self.grant(sender)
            refused = refusal(endpoint, need, grant, ids)
            if refused is None and endpoint is not UPDATE and not grant.projects:
                self._access.allowed.add(endpoint.name)
        if refused is not None:
            if endpoint is UPDATE and self.era is Era.UNKNOWN:
                refused = refusal(endpoint, WRITE, grant, ids) or refused  # the scope that suffices in every era
            raise ScopeError(f"Nothing was sent. {refused.message}", missing=refused.missing, credential=kind)

    async def grant(self, sender: Sender | None = None) -> Grant:
        """What is known of the credential: as given, or read once from the key's own record.

        Older servers do not show a key its record, and others may answer anything. Then it is unknown, that
        is remembered, and the server decides.

        Args:
            sender: Sends the call that has to know, within its deadline.
        """
        access, credential = self._access, self._host.credential
        if access.grant is not None:
            return access.grant
        given = Grant(credential.kind, credential.scopes, credential.projects)
        if given.scopes is not None or not isinstance(credential, PersonalAPIKey):
            access.grant = given
            return given
        sender = sender or Sender(self._host, self.options, calls.current_key(), Place())
        await sender.take(access.asking, "the record of the key")
        try:
            if access.grant is None:
                key = await self._ask_for_key(sender)
                access.grant = given if key is None else _granted(key, given)
        finally:
            access.asking.release()
        return access.grant

    async def _ask_for_key(self, sender: Sender) -> KeyInfo | None:
        call, options, left = calls.current_key(), self.options, sender.time_left()
        if left is not None:
            options = attrs.evolve(options, retry=attrs.evolve(options.retry, deadline=max(left, 0.001)))
        try:
            reply = await Exchange(self._host, options, call, Place(), stop=sender.stop).ask_once()
            return None if reply is None else cast("KeyInfo", replies.decode_success(call.endpoint, reply.body))
        except (RateLimitWaitTooLong, RateLimiterUnavailableError, ClientStateError, NotSentError):
            raise  # says nothing about the key
        except PostHogEnvError:
            return None


def _granted(key: KeyInfo, given: Grant) -> Grant:
    # An empty list of projects is no limit; an empty list of scopes is no scope.
    scopes = frozenset(key.scopes) if isinstance(key.scopes, list) else None
    projects = frozenset(key.scoped_teams) if isinstance(key.scoped_teams, list) else None
    return Grant(given.kind, scopes, given.projects if given.projects is not None else projects)
