"""``environments.each(refs)``: every endpoint under its own name, for many environments."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import attrs

from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.endpoints import ACTIVITY, UPDATE, Endpoint
from aioposthog_env.api.routes import place_of
from aioposthog_env.bulk.outcome import Keep
from aioposthog_env.bulk.queued import QueuedRun, TaskQueue
from aioposthog_env.bulk.record import Recording, RunRecord, body_digest
from aioposthog_env.bulk.rotation import AfterRotation, old_enough, seconds_of, secret_is_shown
from aioposthog_env.bulk.run import BulkRun, Refs, Skip, Work
from aioposthog_env.bulk.sink import AnySink, Sink
from aioposthog_env.errors import ConfigurationError, PostHogEnvError, SettingsNotAppliedError, StateChangedError
from aioposthog_env.models.activity import ActivityEntry
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import JSONValue, TeamSettings
from aioposthog_env.paging import activity_pages
from aioposthog_env.recovery import BeforeWrite, Comparison
from aioposthog_env.redacted import redacted
from aioposthog_env.session import PostHogSession, Result
from aioposthog_env.stop import Stop

T = TypeVar("T")
Check: TypeAlias = Callable[[Environment, datetime | None], Comparison]

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
        keep: Keep = "values",
        recording: Recording | None = None,
        queue: TaskQueue | None = None,
    ) -> None:
        self.session = session
        self._refs = refs
        self._concurrency = concurrency
        self._stop_after_failures = stop_after_failures
        self._keep: Keep = keep
        self._recording = recording
        self._queue = queue

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
        given, record, stop = settings, self._record(UPDATE, "of each environment"), Stop()
        if record is not None:
            record.body_of = lambda ref: body_digest(calls.update(given(ref)).body)
        queued = None if self._queue is None else self._queue.run(self.session, record)

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            return await self._send(calls.update(given(ref), expected=expected), ref, stop, record, queued=queued)

        return self._run(UPDATE, work, stop, record, queued=queued)

    def delete(self) -> BulkRun[None]:
        """Delete each environment."""
        return self._call(calls.delete())

    def activity(self, *, limit: int | None = None) -> BulkRun[list[ActivityEntry]]:
        """Read the activity log of each environment, newest first.

        Args:
            limit: The most entries per environment; None for all.
        """
        self._check(ACTIVITY)
        stop = Stop()

        async def work(ref: EnvironmentRef) -> Result[list[ActivityEntry]]:
            entries: list[ActivityEntry] = []
            attempts, waited = 0, 0.0
            async for page in activity_pages(self.session, place_of(ref), stop=stop):
                entries += page.value
                attempts += page.attempts
                waited += page.waited
                if limit is not None and len(entries) >= limit:
                    break
            return Result(entries[:limit], attempts, waited)

        return self._run(ACTIVITY, work, stop)

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
            verify: Read each environment again and see that the new secret is in use, before it is handed over. An error of
                that read, or of the sink, is one whose ``action_done`` is true: a journal does the rest later.

        Raises:
            ConfigurationError: The sink is none.
        """
        journal = None if self._recording is None else self._recording.path
        taker = None if sink is None else Sink(sink, self.session.origin, journal)
        following = AfterRotation(self.session, verify, taker)
        return self._expecting(calls.rotate_secret_token, expected, settings, following)

    def delete_secret_token_backup(
        self, *, min_age: float | timedelta | None = None, settings: TeamSettings | None = None
    ) -> BulkRun[Environment]:
        """Drop the backup of the secret token of each environment.

        PostHog does not tell when a secret was rotated. It was before ``updated_at``, which moves with every change; and a
        journal that holds the rotation tells exactly: give that file, and a ``run`` of another name. Without it nothing tells
        where the server's clock and the one here differ by more than a day. It is judged just before the call, while this
        client makes no other change to the environment; what another process does in that moment is not seen.

        Args:
            min_age: Skip an environment unless its backup is certainly as old, in seconds; else it is ``too young``. Costs a
                read each, but for 0.
            settings: As for the single call.

        Raises:
            ConfigurationError: The age is no span of time, or below 0.
        """
        call = calls.delete_secret_token_backup(settings=settings)
        least = 0.0 if min_age is None else seconds_of(min_age)
        if not least:
            return self._call(call)
        record, stop = self._record(call.endpoint, body_digest(call.body)), Stop()

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            try:
                check = old_enough(least, {} if record is None else record.rotations)
                return await self._send(call, ref, stop, record, check)
            except StateChangedError as error:
                raise Skip("too young", error, error.attempts, error.waited) from None

        return self._run(call.endpoint, work, stop, record)

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
        following: AfterRotation | None = None,
    ) -> BulkRun[Environment]:
        # In a traceback, a secret in place of its digest does not show.
        expected = None if expected is None else {id: redacted(digest) for id, digest in dict(expected).items()}
        digests, plain = expected, make(settings=settings)
        record, queued, stop = self._record(plain.endpoint, body_digest(plain.body)), None, Stop()
        if self._queue is not None:
            self._queue.check(plain)
            queued = self._queue.run(self.session, record)
        check = secret_is_shown if following is not None and (following.verify or following.sink is not None) else None
        if record is not None:
            record.has_sink = following is not None and following.sink is not None

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            if digests is not None and ref.id not in digests:
                raise ConfigurationError(f"expected holds no digest for environment {ref.id}.")
            call = plain if digests is None else make(expected=digests[ref.id], settings=settings)
            result = await self._send(call, ref, stop, record, check, queued)
            return result if following is None else await following.finish(result, ref)

        return self._run(plain.endpoint, work, stop, record, None if following is None else following.sink, queued)

    def _call(self, call: Call[T]) -> BulkRun[T]:
        record, queued, stop = self._record(call.endpoint, body_digest(call.body)), None, Stop()
        if self._queue is not None:
            self._queue.check(call)
            queued = self._queue.run(self.session, record)

        async def work(ref: EnvironmentRef) -> Result[T]:
            return await self._send(call, ref, stop, record, queued=queued)

        return self._run(call.endpoint, work, stop, record, queued=queued)

    async def _send(
        self,
        call: Call[T],
        ref: EnvironmentRef,
        stop: Stop,
        record: RunRecord | None,
        check: Check | None = None,
        queued: QueuedRun | None = None,
    ) -> Result[T]:
        """Send a call. One that has taken effect gives a result, also where settings beside it were ignored."""
        before = None if record is None else record.before_write(ref, call)
        if check is not None:
            before = attrs.evolve(before or BeforeWrite(), check=check)
        try:
            if queued is not None:
                return await queued.call(call, ref, before, stop)
            return await self.session.call(call, place_of(ref), before, stop=stop)
        except SettingsNotAppliedError as error:
            if not error.action_done:
                raise
            return Result(error.environment, error.attempts, error.waited, not_applied=error.fields)
        except PostHogEnvError as error:
            if before is not None and before.doubt is not None and before.doubt.happened:
                error.after("An earlier run has done it, and it is not sent again.")
            raise

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

    def _run(
        self,
        endpoint: Endpoint,
        work: Work[Any],
        stop: Stop,
        record: RunRecord | None = None,
        sink: Sink | None = None,
        queued: QueuedRun | None = None,
    ) -> BulkRun[Any]:
        if self._queue is not None and queued is None:
            raise ConfigurationError(
                "This call is made from here, not by workers, which only make changes and never see what else is known here. "
                "Nothing was sent. Leave on= out."
            )
        return BulkRun(
            self._refs,
            work,
            concurrency=self._concurrency if self._queue is None else self._queue.in_flight,
            stop_after_failures=self._stop_after_failures,
            record=record,
            sink=sink,
            queued=queued,
            stop=stop,
            keep=self._keep,
            endpoint=endpoint.name,
            hooks=self.session.options.hooks,
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
