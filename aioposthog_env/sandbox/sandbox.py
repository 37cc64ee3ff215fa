"""``Sandbox``: an embedded PostHog on a port of this machine."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec
from aiohttp import web

from aioposthog_env.redacted import printable_half_built
from aioposthog_env.sandbox import saved
from aioposthog_env.sandbox.eras import ERAS, EraName
from aioposthog_env.sandbox.errors import Problem
from aioposthog_env.sandbox.faults import Fault, FaultPlan, named_fault
from aioposthog_env.sandbox.routing import route
from aioposthog_env.sandbox.scene import populate
from aioposthog_env.sandbox.server import Answer, Request, Server
from aioposthog_env.sandbox.state import ADMIN, MEMBER, OWNER, Plan, SandboxEnvironment, SandboxSession, SandboxUser, State
from aioposthog_env.sandbox.throttle import Throttle
from aioposthog_env.sandbox.wire import send


@printable_half_built
@attrs.frozen(kw_only=True)
class SandboxCall:
    """One request as the sandbox saw it.

    Attributes:
        verb: The HTTP verb.
        path: The path with its query.
        endpoint: The endpoint's name; None where the path is none.
        environment_id: The id in the path; None where it names none.
        status: What was answered; None where the connection was dropped instead.
        at: The time of the event loop.
    """

    verb: str
    path: str
    endpoint: str | None
    environment_id: int | None
    status: int | None
    at: float


class Sandbox:
    """An embedded PostHog. Enter it with ``async with``; it listens on 127.0.0.1 until it is left.

    Args:
        environments: How many environments the first organization has.
        era: Which generation it plays: ``2024-10``, ``2025-08``, ``2025-11`` or ``current``.
        seed: The same seed gives the same scene.
        lacking_anonymize_ips: How many environments have ``anonymize_ips`` off; default: 36 of 100.
        environments_per_project: How many environments share a project, before 2026.
        throttle: The rate limit of keys: True for PostHog's own, a ``Throttle`` for other figures, False for none.
        latency: Seconds before each answer.
        port: The port; 0 takes a free one.
        unstable_order: Whether each list comes in another order, as PostHog's may.
        plan: What the organizations have paid for.
        keys_for_admins_only: Whether the organizations let only admins use keys.
        nested_only: Whether it is a host that serves the documented nested path alone, as a mock written from PostHog's
            page does: any other path to an environment is a 404 with a page of HTML.
    """

    def __init__(
        self,
        environments: int = 25,
        *,
        era: EraName = "current",
        seed: int = 0,
        lacking_anonymize_ips: int | None = None,
        environments_per_project: int = 1,
        throttle: Throttle | bool = True,
        latency: float = 0.0,
        port: int = 0,
        unstable_order: bool = False,
        plan: Plan | None = None,
        keys_for_admins_only: bool = False,
        nested_only: bool = False,
    ) -> None:
        self.latency = latency
        self._port = port
        self._rng = random.Random(seed)  # noqa: S311  made-up data, no protection
        self._faults = FaultPlan(random.Random(seed))  # noqa: S311
        limit = throttle if isinstance(throttle, Throttle) else Throttle() if throttle else None
        self._server = Server(State(ERAS[era], self._rng), limit, unstable_order=unstable_order)
        self._state.plan = plan or Plan()
        self._state.keys_for_admins_only = keys_for_admins_only
        self._state.nested_only = nested_only
        self._calls: list[SandboxCall] = []
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self.organization_id: str = self._state.unique_id()
        self._state.add_user("Alice", {self.organization_id: OWNER})
        self._state.add_user("Bob", {self.organization_id: MEMBER})
        lacking = round(environments * 0.36) if lacking_anonymize_ips is None else lacking_anonymize_ips
        populate(self._state, self.organization_id, environments, lacking=lacking, per_project=environments_per_project)

    @property
    def _state(self) -> State:
        return self._server.state

    # The scene

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._runner is None:
            raise RuntimeError("The sandbox is not running; enter it with `async with`.")
        return f"http://127.0.0.1:{self._port}"

    @property
    def user(self) -> SandboxUser:
        """The owner of the first organization."""
        return self._state.users[0]

    @property
    def member(self) -> SandboxUser:
        """A plain member of the first organization."""
        return self._state.users[1]

    def key(
        self,
        *scopes: str,
        projects: Collection[int] = (),
        organizations: Collection[str] = (),
        user: SandboxUser | None = None,
        legacy: bool = False,
    ) -> str:
        """A new personal API key. Without scopes it has all of them.

        Args:
            scopes: Its scopes.
            projects: The environments it is limited to.
            organizations: The organizations it is limited to.
            user: Its owner; default: the organization's owner.
            legacy: A key of old, stored without scopes: it may do everything up to 2025 and nothing since.
        """
        limits = {"projects": tuple(projects), "organizations": tuple(organizations)}
        return self._state.add_token("phx_", user or self.user, () if legacy else scopes or ("*",), **limits).value

    def oauth_token(self, *scopes: str, user: SandboxUser | None = None) -> str:
        """A new OAuth access token. Without scopes it has all of them."""
        return self._state.add_token("pha_", user or self.user, scopes or ("*",)).value

    def session(self, user: SandboxUser | None = None) -> SandboxSession:
        """A new login of the organization's owner, or of somebody else."""
        return self._state.add_session(user or self.user)

    def revoke(self, token: str, *, expired: bool = False) -> None:
        """Make a key or token unknown from now on, or expired."""
        self._state.tokens[token].revoked = True
        self._state.tokens[token].expired = expired

    def add_user(
        self, name: str, *, admin: bool = False, organization: str | None = None, two_factor: bool = False
    ) -> SandboxUser:
        """A new person in the first or another organization. With ``two_factor`` a login asks for a second factor."""
        levels = {organization or self.organization_id: ADMIN if admin else MEMBER}
        return self._state.add_user(name, levels, two_factor=two_factor)

    def add_organization(self) -> str:
        """A new organization to which nobody belongs yet. Gives its id."""
        return self._state.unique_id()

    def add_environment(self, name: str, *, organization: str | None = None, **settings: Any) -> SandboxEnvironment:
        """A new environment in the first or another organization."""
        return self._state.add_environment(organization or self.organization_id, name=name, **settings)

    def environment(self, id: int) -> SandboxEnvironment:
        """An environment as it is stored."""
        return self._state.environments[id]

    def finish_deletions(self) -> None:
        """Let the background end the deletions that have begun."""
        for one in [one for one in self._state.environments.values() if one.pending_deletion]:
            del self._state.environments[one.id]

    @property
    def environment_ids(self) -> list[int]:
        """The ids of all environments, foreign ones included."""
        return list(self._state.environments)

    @property
    def calls(self) -> list[SandboxCall]:
        """Every request so far."""
        return self._calls

    @property
    def refusals(self) -> int:
        """How many requests were refused by the rate limit."""
        return self._server.refusals

    @property
    def effects(self) -> Counter[tuple[str, int]]:
        """How often each endpoint took effect on each environment, apart from how often it was asked.

        ``effects["rotate_secret_token", 7]`` counts rotations, ``effects["setting timezone", 7]`` real changes of a setting.
        """
        return self._state.effects

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret value ever issued."""
        return frozenset(self._state.secrets)

    def snapshot(self) -> dict[str, Any]:
        """The scene as plain data, secrets included."""
        return msgspec.json.decode(msgspec.json.encode(saved.dump(self._state)), type=dict[str, Any])

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Set the scene back to a snapshot, also one of another era.

        Raises:
            ValueError: It is no snapshot.
        """
        state = saved.restored(msgspec.json.decode(msgspec.json.encode(snapshot)), self._rng)
        for name in ("plan", "keys_for_admins_only", "nested_only", "served"):
            setattr(state, name, getattr(self._state, name))
        self._server.state = state

    def save(self, path: str | Path) -> None:
        """Write the scene to a JSON file. It holds the made-up secrets and passwords of the scene."""
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self.snapshot())))

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Self:
        """A sandbox with the scene of a JSON file; the other options are those of the class.

        Raises:
            ValueError: The file holds no scene.
        """
        try:
            snapshot = msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any])
            sandbox = cls(0, **options)
            sandbox.restore(snapshot)
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no scene of a sandbox: {error}") from None
        sandbox.organization_id = next(iter(sandbox.user.levels))
        return sandbox

    # Faults

    def fault(self, name: str, endpoint: str | None = None, **changes: Any) -> None:
        """Let the next requests meet a fault.

        Args:
            name: A name of ``faults.FAULTS``, such as ``drop_after_effect``.
            endpoint: The endpoint's name; None for any.
            changes: ``times`` (default 1; None for ever), ``probability``, ``before`` and ``after`` in seconds (at most 30),
                ``headers``, ``status``, ``body``; see ``faults.Fault``.

        Raises:
            ValueError: There is no such fault or no such endpoint, or a delay is beyond the bound.
        """
        self._faults.add(named_fault(name, endpoint=endpoint, **changes))

    @property
    def pending_faults(self) -> int:
        """How many faults are still to come."""
        return self._faults.pending

    def clear_faults(self) -> None:
        """Forget the faults that have not happened."""
        self._faults.clear()

    def answer_next(
        self,
        endpoint: str | None,
        status: int,
        body: bytes | dict[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        before_effect: bool = True,
    ) -> None:
        """Answer the next requests to an endpoint with this instead.

        Args:
            endpoint: The endpoint's name; None for any.
            status: The status.
            body: The body; a dict goes out as JSON. None: for a status from 400 PostHog's own error, else nothing.
            headers: More headers.
            times: How many requests.
            before_effect: Whether nothing happens; else it takes effect first.

        Raises:
            ValueError: There is no such endpoint.
        """
        if body is None:
            said = Problem(status, "server_error", "error", f"The sandbox was told to answer {status}.").body
            body = said if status >= 400 else b""
        encoded = msgspec.json.encode(body) if isinstance(body, dict) else body
        kind = {"Content-Type": "application/json" if encoded[:1] in (b"{", b"[") else "text/html"}
        self._faults.add(
            Fault(
                endpoint=endpoint,
                effect=not before_effect,
                status=status,
                body=encoded,
                headers=kind | dict(headers or {}),
                times=times,
            )
        )

    def drop_next(self, endpoint: str | None, *, times: int = 1, before_effect: bool = True) -> None:
        """Close the connection instead of answering the next requests to an endpoint, before or after the effect.

        Raises:
            ValueError: There is no such endpoint.
        """
        self._faults.add(Fault(endpoint=endpoint, effect=not before_effect, wire="drop", times=times))

    @asynccontextmanager
    async def refusing_connections(self) -> AsyncGenerator[None, None]:
        """Inside, the port is closed: connections are refused."""
        if self._site is not None:
            await self._site.stop()
        try:
            yield
        finally:
            await self._listen()

    # The server

    async def __aenter__(self) -> Self:
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        self._state.served = True
        await self._listen()
        return self

    async def _listen(self) -> None:
        if self._runner is None:
            return
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        found = route(request.method, request.path, self._state.rules)
        name = found.endpoint.name if found.endpoint is not None else None
        fault = self._faults.meet(name) or Fault()
        if fault.wire == "drop unread":
            answer = Answer(0)
        else:
            raw = await (request.content.readany() if fault.wire == "drop midway" else request.read())
            await asyncio.sleep(self.latency + fault.before)
            asked = Request(
                verb=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                raw=raw,
                origin=self.url if self._runner is not None else "",
            )
            answer = await self._server.answer(asked, found) if fault.effect else Answer(500)
        if fault.status is not None:
            location = {"Location": request.path_qs} if 300 <= fault.status < 400 else {}
            answer = Answer(
                fault.status, fault.body or b"", {"Content-Type": "application/json"} | location | dict(fault.headers)
            )
        dropped = "drop" in fault.wire
        self._calls.append(
            SandboxCall(
                verb=request.method,
                path=request.path_qs,
                endpoint=name,
                environment_id=int(found.id) if found.id is not None and found.id.isdigit() else None,
                status=None if dropped else answer.status,
                at=asyncio.get_running_loop().time(),
            )
        )
        return await send(request, answer, fault)
