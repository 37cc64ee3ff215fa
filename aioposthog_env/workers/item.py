"""What a job holds: which call to which environment, and the digests of what it is to replace. Never a key or a secret."""

import uuid
from collections.abc import Collection
from typing import Any, Final, Self

import attrs
import msgspec

from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import ENDPOINTS, RESET_TOKEN, ROTATE_SECRET_TOKEN, Endpoint, Target
from aioposthog_env.auth import credential_digest
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError, StateChangedError
from aioposthog_env.models.comparing import SENSITIVE, Digests
from aioposthog_env.models.converter import structure, unstructure
from aioposthog_env.models.environment import AnyRef, EnvironmentRef, as_ref
from aioposthog_env.models.settings import TeamSettings
from aioposthog_env.recovery import marks
from aioposthog_env.redacted import printable_half_built
from aioposthog_env.session import PostHogSession

_ENDPOINTS: Final = {endpoint.name: endpoint for endpoint in ENDPOINTS}
MAX_DELIVERIES: Final = 3


@printable_half_built
@attrs.frozen(kw_only=True)
class WorkItem:
    """One call to one environment, for a worker to make: the argument of ``run_item``.

    It is plain data, and holds neither a key nor a secret; it may lie in any queue. ``to_json`` and ``from_json`` carry it.

    Attributes:
        run: The run that it belongs to. With the environment it names the job, so that one that is delivered twice is known.
        environment: The environment's id.
        project: The id of its project, where it is known.
        host: The origin that is to be called.
        owner: The digest of the credential that the run was begun with.
        endpoint: The endpoint's name.
        body: The body as JSON; None for none.
        asked: The settings among the body's keys, which the answer is compared with.
        expected: The digest of the secret or token that is to be replaced.
        expected_settings: The digests of the settings that are to be replaced.
        max_deliveries: How many workers may die over it before it has failed.
    """

    run: str
    environment: int
    project: int | None = None
    host: str
    owner: str
    endpoint: str
    body: str | None = None
    asked: tuple[str, ...] = ()
    expected: str | None = None
    expected_settings: dict[str, str] | None = None
    max_deliveries: int = MAX_DELIVERIES

    @property
    def ref(self) -> EnvironmentRef:
        """The environment."""
        return EnvironmentRef(self.environment, self.project)

    def to_json(self) -> str:
        """The item as a text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The item of a text.

        Raises:
            ConfigurationError: It holds none.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, ValueError):
            raise ConfigurationError("The job holds nothing that this version can read. Nothing was sent.") from None

    def call(self) -> Call[Any]:
        """What is to be sent.

        Raises:
            ConfigurationError: The job holds no call that this version can make.
        """
        endpoint = _ENDPOINTS.get(self.endpoint)
        if endpoint is None or endpoint.reads or endpoint.target is not Target.ENVIRONMENT:
            raise ConfigurationError(f"The job asks for {self.endpoint!r}, which this version does not know. Nothing was sent.")
        try:
            wire: dict[str, Any] = {} if self.body is None else msgspec.json.decode(self.body, type=dict[str, Any])
            asked = structure({name: wire[name] for name in self.asked}, TeamSettings) if self.asked else None
        except (msgspec.MsgspecError, LookupError):
            raise ConfigurationError("The job's body cannot be read. Nothing was sent.") from None
        return Call(
            endpoint,
            None if self.body is None else self.body.encode(),
            frozenset(wire),
            asked=asked,
            expected=self.expected,
            expected_settings=self.expected_settings,
        )

    @classmethod
    def of_call(
        cls,
        session: PostHogSession,
        run: str,
        call: Call[Any],
        ref: EnvironmentRef,
        *,
        expected: str | None = None,
        expected_settings: Digests | None = None,
        max_deliveries: int = MAX_DELIVERIES,
    ) -> "WorkItem":
        """The item of a call.

        Args:
            session: Whose host and credential a worker must have.
            run: The run.
            call: The call.
            ref: The environment.
            expected: The digest of the secret or token that is to be replaced; None for what the call says.
            expected_settings: The same of the settings.
            max_deliveries: How many workers may die over it.

        Raises:
            ConfigurationError: It must not go through a queue.
        """
        must_be_fit(call)
        replaced = call.expected_settings if expected_settings is None else expected_settings
        return cls(
            run=run,
            environment=ref.id,
            project=ref.project_id,
            host=session.origin,
            owner=credential_digest(session.credential),
            endpoint=call.endpoint.name,
            body=None if call.body is None else call.body.decode(),
            asked=() if call.asked is None else tuple(sorted(unstructure(call.asked))),
            expected=call.expected if expected is None else expected,
            expected_settings=None if replaced is None else dict(replaced),
            max_deliveries=max_deliveries,
        )

    @classmethod
    async def rotating(cls, environments: AsyncEnvironments, environment: AnyRef, *, run: str | None = None) -> "WorkItem":
        """The item that rotates the secret token as it is now. One read.

        Args:
            environments: The client.
            environment: The environment.
            run: The run; None for one of its own.

        Raises:
            StateChangedError: The server does not show the secret.
        """
        return await cls._replacing(environments, as_ref(environment), calls.rotate_secret_token(), run)

    @classmethod
    async def resetting(cls, environments: AsyncEnvironments, environment: AnyRef, *, run: str | None = None) -> "WorkItem":
        """The item that resets the project token as it is now. One read."""
        return await cls._replacing(environments, as_ref(environment), calls.reset_token(), run)

    @classmethod
    async def _replacing(
        cls, environments: AsyncEnvironments, ref: EnvironmentRef, call: Call[Any], run: str | None
    ) -> "WorkItem":
        seen = marks(call.endpoint, await environments.retrieve(ref))
        if seen is None:
            raise StateChangedError("The answer does not show what is to be replaced, so no job can be made of it.")
        session = environments.each(()).session
        return cls.of_call(session, run or uuid.uuid4().hex, call, ref, expected=current(call.endpoint, seen))

    @classmethod
    def applying(cls, environments: AsyncEnvironments, plan: Plan, *, run: str | None = None) -> "list[WorkItem]":
        """The items that apply a plan: one for each environment that changes.

        Raises:
            ConfigurationError: The plan was made at another host, or holds a sensitive setting.
        """
        session, run = environments.each(()).session, run or uuid.uuid4().hex
        if plan.host != session.origin:
            raise ConfigurationError(f"The plan was made at {plan.host}, and this is {session.origin}.")
        for one in plan.changing:
            must_be_open(one.withheld)
        return [cls.of_call(session, run, calls.update(one.settings, expected=one.expected), one.ref) for one in plan.changing]


def must_be_fit(call: Call[Any]) -> None:
    """Refuse what must not lie in a queue.

    Raises:
        ConfigurationError: It holds a secret, or changes nothing.
    """
    if call.endpoint.reads:
        raise ConfigurationError(
            f"Workers make changes, and {call.endpoint.name} makes none; what it reads would have to travel through the queue. "
            "Nothing was sent. Leave on= out."
        )
    wire = {} if call.asked is None else unstructure(call.asked)
    must_be_open([name for name in wire if name in SENSITIVE and wire[name] is not None])


def must_be_open(sensitive: Collection[str]) -> None:
    """Refuse settings that are secret.

    Raises:
        ConfigurationError: There is one.
    """
    if sensitive:
        raise ConfigurationError(
            f"{', '.join(sorted(sensitive))} holds a secret, which must not lie in a queue, and a job would carry it. Nothing "
            "was sent. Set it without workers."
        )


def current(endpoint: Endpoint, seen: dict[str, str | None]) -> str | None:
    """The digest that a token call is to replace, from the marks of the environment."""
    return seen.get({ROTATE_SECRET_TOKEN: "secret", RESET_TOKEN: "token"}.get(endpoint, "token"))
