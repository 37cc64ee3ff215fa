"""``environments.each(refs)``: every endpoint under its own name, for many environments."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

import attrs

from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import ROTATE_SECRET_TOKEN, UPDATE, Endpoint
from aioposthog_env.api.routes import Place
from aioposthog_env.auth import Secret
from aioposthog_env.bulk.record import Recording, RunRecord, body_digest
from aioposthog_env.bulk.run import BulkRun, Refs, Skip, Work
from aioposthog_env.bulk.sink import AnySink, Sink
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, StateChangedError
from aioposthog_env.models.activity import ActivityEntry
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import JSONValue, TeamSettings
from aioposthog_env.paging import activity_pages
from aioposthog_env.recovery import outcome_unknown
from aioposthog_env.session import PostHogSession, Result

T = TypeVar("T")
Finish: TypeAlias = Callable[[Result[Environment], EnvironmentRef], Awaitable[Result[Environment]]]

SettingsOf: TypeAlias = TeamSettings | Callable[[EnvironmentRef], TeamSettings]
"""The same settings for all environments, or a function that gives those of each."""

ExpectedOf: TypeAlias = Mapping[int, str] | None
"""By environment id, the digest of what is to be replaced there."""


class Each:
    """One call to each of many environments. Every method gives a ``BulkRun``: await it, or enter and iterate it.

    Errors of single environments become outcomes. What the kind of credential rules out is refused before anything is sent.
    Waits for the rate limit have no ceiling unless one was given.

    Attributes:
        session: The session under the policies of the run.
    """

    def __init__(
        self,
        session: PostHogSession,
        refs: Refs,
        *,
        concurrency: int,
        stop_after_failures: int | None,
        recording: Recording | None = None,
    ) -> None:
        self.session = session
        self._refs = refs
        self._concurrency = concurrency
        self._stop_after_failures = stop_after_failures
        self._recording = recording

    def retrieve(self) -> BulkRun[Environment]:
        """Read each environment."""
        return self._call(calls.retrieve())

    def update(self, settings: SettingsOf, *, expected: TeamSettings | None = None) -> BulkRun[Environment]:
        """Change the settings of each environment.

        With a journal each environment is read first, so that its previous settings are kept for ``undo``; where it is as
        desired already, nothing is sent.

        Args:
            settings: The settings for all, or a function of the environment. The function's errors of input become the
                outcome of that environment.
            expected: What they are to replace, the same for all; see ``AsyncEnvironments.update``.

        Raises:
            ConfigurationError: The settings for all hold values that no PostHog takes.
        """
        if isinstance(settings, TeamSettings):
            return self._call(calls.update(settings, expected=expected))
        given, record = settings, self._record(UPDATE, "of each environment")
        if record is not None:
            record.body_of = lambda ref: body_digest(calls.update(given(ref)).body)

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            return await self._send(calls.update(given(ref), expected=expected), ref, record)

        return self._run(work, record)

    def delete(self) -> BulkRun[None]:
        """Delete each environment."""
        return self._call(calls.delete())

    def activity(self, *, limit: int | None = None) -> BulkRun[list[ActivityEntry]]:
        """Read the activity log of each environment, newest first.

        Args:
            limit: The most entries per environment; None for all.
        """
        self._check(calls.activity_page(page=1, limit=1).endpoint)

        async def work(ref: EnvironmentRef) -> Result[list[ActivityEntry]]:
            entries: list[ActivityEntry] = []
            attempts, waited = 0, 0.0
            async for page in activity_pages(self.session, place_of(ref)):
                entries += page.value
                attempts += page.attempts
                waited += page.waited
                if limit is not None and len(entries) >= limit:
                    break
            return Result(entries[:limit], attempts, waited)

        return self._run(work)

    def add_product_intent(
        self,
        product_type: str,
        *,
        intent_context: str | None = None,
        metadata: Mapping[str, JSONValue] | None = None,
        settings: TeamSettings | None = None,
    ) -> BulkRun[Environment]:
        """Say for each environment that a product is of interest."""
        return self._call(
            calls.add_product_intent(product_type, intent_context=intent_context, metadata=metadata, settings=settings)
        )

    def complete_product_onboarding(self, product_type: str, *, settings: TeamSettings | None = None) -> BulkRun[Environment]:
        """Say for each environment that the onboarding of a product is complete."""
        return self._call(calls.complete_product_onboarding(product_type, settings=settings))

    def event_ingestion_restrictions(self) -> BulkRun[list[IngestionRestriction]]:
        """Read what the ingestion of each environment holds back."""
        return self._call(calls.event_ingestion_restrictions())

    def is_generating_demo_data(self) -> BulkRun[bool]:
        """Ask for each environment whether demo data is still being made."""
        return self._call(calls.is_generating_demo_data())

    def reset_token(self, *, expected: ExpectedOf = None, settings: TeamSettings | None = None) -> BulkRun[Environment]:
        """Replace the project token of each environment. The old ones stop working at once."""
        return self._expecting(calls.reset_token, expected, settings)

    def rotate_secret_token(
        self,
        *,
        expected: ExpectedOf = None,
        settings: TeamSettings | None = None,
        sink: AnySink | None = None,
        verify: bool = False,
    ) -> BulkRun[Environment]:
        """Replace the secret token of each environment; the old one becomes the backup, the old backup is gone.

        Args:
            expected: By environment id, the digest of the secret to replace; see ``AsyncEnvironments.rotate_secret_token``.
            settings: As for the single call.
            sink: Takes each new secret before the environment counts as done: a callable that is given the environment, one at
                a time, or the path of a file of JSON lines with mode 0600. After a crash it may be given a secret again.
            verify: Read each environment again and see that the new secret is in use, before it is handed over.

        Raises:
            ConfigurationError: The sink is none.
        """
        taker = None if sink is None else Sink(sink)

        async def finish(result: Result[Environment], ref: EnvironmentRef) -> Result[Environment]:
            if verify:
                seen = await followed(result, self.session.call(calls.retrieve(), place_of(ref)))
                if seen.value.secret_api_token != result.value.secret_api_token:
                    raise outcome_unknown(ROTATE_SECRET_TOKEN.name, ["it was rotated, and another secret is in use since"])
                result = attrs.evolve(result, attempts=seen.attempts, waited=seen.waited)
            if taker is not None:
                await taker.hand_over(result.value)
            return result

        return self._expecting(calls.rotate_secret_token, expected, settings, finish, taker)

    def delete_secret_token_backup(
        self, *, min_age: float | timedelta | None = None, settings: TeamSettings | None = None
    ) -> BulkRun[Environment]:
        """Drop the backup of the secret token of each environment.

        PostHog does not tell when a secret was rotated. It was before ``updated_at``, which moves with every change; and a
        journal that holds the rotation tells exactly: give that file, and a ``run`` of another name.

        Args:
            min_age: Skip an environment unless its backup is certainly older, in seconds; such a one is ``too young``. Costs a
                read each.
            settings: As for the single call.
        """
        call = calls.delete_secret_token_backup(settings=settings)
        if min_age is None:
            return self._call(call)
        least = min_age.total_seconds() if isinstance(min_age, timedelta) else float(min_age)
        record = self._record(call.endpoint, body_digest(call.body))

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            seen = await self.session.call(calls.retrieve(), place_of(ref))
            if seen.value.secret_api_token_backup is None:
                return attrs.evolve(seen, already_done=True)
            age = backup_age(seen.value, {} if record is None else record.rotations, time.time(), server_time(seen.date))
            if age is None or age < least:
                known = "nothing tells how old it is" if age is None else f"it may be only {max(0.0, age):.0f} s old"
                error = StateChangedError(f"The backup was not deleted: {known}, and {least:.0f} s are asked for.")
                raise Skip("too young", error.about(call.endpoint.name, ref.id), seen.attempts, seen.waited)
            return await followed(seen, self._send(call, ref, record))

        return self._run(work, record)

    def settings_as_of(self, at: datetime, names: Collection[str]) -> BulkRun[TeamSettings]:
        """Read what settings of each environment were at a time."""
        return self._call(calls.settings_as_of(at, names))

    def experiments_config(self) -> BulkRun[dict[str, JSONValue]]:
        """Read how experiments are run in each environment."""
        return self._call(calls.experiments_config())

    def update_experiments_config(self, changes: Mapping[str, JSONValue]) -> BulkRun[dict[str, JSONValue]]:
        """Change how experiments are run in each environment."""
        return self._call(calls.update_experiments_config(changes))

    def logs_config(self) -> BulkRun[dict[str, JSONValue]]:
        """Read how logs are read in each environment."""
        return self._call(calls.logs_config())

    def update_logs_config(self, changes: Mapping[str, JSONValue]) -> BulkRun[dict[str, JSONValue]]:
        """Change how logs are read in each environment."""
        return self._call(calls.update_logs_config(changes))

    def generate_conversations_public_token(self) -> BulkRun[Environment]:
        """Replace the public token of the conversations widget of each environment."""
        return self._call(calls.generate_conversations_public_token())

    def _expecting(
        self,
        make: Callable[..., Call[Environment]],
        expected: ExpectedOf,
        settings: TeamSettings | None,
        finish: Finish | None = None,
        sink: Sink | None = None,
    ) -> BulkRun[Environment]:
        if expected is None:
            return self._call(make(settings=settings), finish, sink)
        digests, plain = dict(expected), make(settings=settings)
        record = self._record(plain.endpoint, body_digest(plain.body))

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            if ref.id not in digests:
                raise ConfigurationError(f"expected holds no digest for environment {ref.id}.")
            result = await self._send(make(expected=digests[ref.id], settings=settings), ref, record)
            return result if finish is None else await finish(result, ref)

        return self._run(work, record, sink)

    def _call(
        self,
        call: Call[T],
        finish: Callable[[Result[T], EnvironmentRef], Awaitable[Result[T]]] | None = None,
        sink: Sink | None = None,
    ) -> BulkRun[T]:
        record = self._record(call.endpoint, body_digest(call.body))

        async def work(ref: EnvironmentRef) -> Result[T]:
            result = await self._send(call, ref, record)
            return result if finish is None else await finish(result, ref)

        return self._run(work, record, sink)

    async def _send(self, call: Call[T], ref: EnvironmentRef, record: RunRecord | None) -> Result[T]:
        return await self.session.call(call, place_of(ref), None if record is None else record.before_write(ref, call))

    def _record(self, endpoint: Endpoint, body: str) -> RunRecord | None:
        """The record of the run, where there is to be one.

        Raises:
            ScopeError: The kind of credential can never make this call.
            ConfigurationError: It changes nothing, so there is nothing to record.
        """
        self._check(endpoint)
        if self._recording is None:
            return None
        if endpoint.reads:
            raise ConfigurationError(f"{endpoint.name} changes nothing, so a journal would hold nothing. Leave journal= out.")
        return self._recording.of(self.session, endpoint.name, body)

    def _check(self, endpoint: Endpoint) -> None:
        self.session.check_kind(endpoint)

    def _run(self, work: Work[Any], record: RunRecord | None = None, sink: Sink | None = None) -> BulkRun[Any]:
        return BulkRun(
            self._refs,
            work,
            concurrency=self._concurrency,
            stop_after_failures=self._stop_after_failures,
            record=record,
            sink=sink,
        )


async def followed(earlier: Result[Any], following: Awaitable[Result[T]]) -> Result[T]:
    """A call that follows another for the same environment: what both took is counted together."""
    try:
        result = await following
    except PostHogEnvError as error:
        error.attempts += earlier.attempts
        error.waited += earlier.waited
        raise
    return attrs.evolve(result, attempts=result.attempts + earlier.attempts, waited=result.waited + earlier.waited)


def backup_age(
    environment: Environment, rotations: Mapping[int, tuple[float, str]], now: float, server_now: datetime | None
) -> float | None:
    """How old the backup of a secret is at least, in seconds; None where nothing tells.

    Args:
        environment: As it was read.
        rotations: What a journal holds: when it rotated, and the digest of the secret since.
        now: The time here, in seconds since 1970.
        server_now: The time of the server, by which ``updated_at`` is to be taken.
    """
    known: list[float] = []
    finished, secret = rotations.get(environment.id, (0.0, ""))
    if isinstance(environment.secret_api_token, Secret) and environment.secret_api_token.digest() == secret:
        known.append(now - finished)
    if isinstance(environment.updated_at, datetime) and server_now is not None:
        known.append((server_now - environment.updated_at).total_seconds())
    return max(known, default=None)


def server_time(date: str | None) -> datetime | None:
    """The server's clock; None where its header is missing or no date."""
    try:
        at = None if date is None else parsedate_to_datetime(date)
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def place_of(ref: EnvironmentRef) -> Place:
    """Where the calls to an environment go."""
    return Place(environment_id=ref.id, project_id=ref.project_id)
