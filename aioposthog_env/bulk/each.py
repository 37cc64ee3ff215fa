"""``environments.each(refs)``: every endpoint under its own name, for many environments."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from aioposthog_env.api import calls
from aioposthog_env.api.calls import Call
from aioposthog_env.api.routes import Place
from aioposthog_env.bulk.run import BulkRun, Refs, Work
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.activity import ActivityEntry
from aioposthog_env.models.environment import Environment, EnvironmentRef
from aioposthog_env.models.restrictions import IngestionRestriction
from aioposthog_env.models.settings import JSONValue, TeamSettings
from aioposthog_env.paging import activity_pages
from aioposthog_env.session import PostHogSession, Result

T = TypeVar("T")

SettingsOf: TypeAlias = TeamSettings | Callable[[EnvironmentRef], TeamSettings]
"""The same settings for all environments, or a function that gives those of each."""

ExpectedOf: TypeAlias = Mapping[int, str] | None
"""By environment id, the digest of what is to be replaced there."""


class Each:
    """One call to each of many environments. Every method gives a ``BulkRun``: await it, or enter and iterate it.

    Errors of single environments become outcomes. Waits for the rate limit have no ceiling unless one was given.
    """

    def __init__(self, session: PostHogSession, refs: Refs, *, concurrency: int, stop_after_failures: int | None) -> None:
        self._session = session
        self._refs = refs
        self._concurrency = concurrency
        self._stop_after_failures = stop_after_failures

    def retrieve(self) -> BulkRun[Environment]:
        """Read each environment."""
        return self._call(calls.retrieve())

    def update(self, settings: SettingsOf) -> BulkRun[Environment]:
        """Change the settings of each environment.

        Args:
            settings: The settings for all, or a function of the environment. The function's errors of input become the
                outcome of that environment.

        Raises:
            ConfigurationError: The settings for all hold values that no PostHog takes.
        """
        if isinstance(settings, TeamSettings):
            return self._call(calls.update(settings))
        given = settings

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            return await self._session.call(calls.update(given(ref)), place_of(ref))

        return self._run(work)

    def delete(self) -> BulkRun[None]:
        """Delete each environment."""
        return self._call(calls.delete())

    def activity(self, *, limit: int | None = None) -> BulkRun[list[ActivityEntry]]:
        """Read the activity log of each environment, newest first.

        Args:
            limit: The most entries per environment; None for all.
        """

        async def work(ref: EnvironmentRef) -> Result[list[ActivityEntry]]:
            entries: list[ActivityEntry] = []
            attempts, waited = 0, 0.0
            async for page in activity_pages(self._session, place_of(ref)):
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

    def rotate_secret_token(self, *, expected: ExpectedOf = None, settings: TeamSettings | None = None) -> BulkRun[Environment]:
        """Replace the secret token of each environment; the old one becomes the backup, the old backup is gone."""
        return self._expecting(calls.rotate_secret_token, expected, settings)

    def delete_secret_token_backup(self, *, settings: TeamSettings | None = None) -> BulkRun[Environment]:
        """Drop the backup of the secret token of each environment."""
        return self._call(calls.delete_secret_token_backup(settings=settings))

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
        self, make: Callable[..., Call[Environment]], expected: ExpectedOf, settings: TeamSettings | None
    ) -> BulkRun[Environment]:
        if expected is None:
            return self._call(make(settings=settings))
        digests = dict(expected)

        async def work(ref: EnvironmentRef) -> Result[Environment]:
            if ref.id not in digests:
                raise ConfigurationError(f"expected holds no digest for environment {ref.id}.")
            return await self._session.call(make(expected=digests[ref.id], settings=settings), place_of(ref))

        return self._run(work)

    def _call(self, call: Call[T]) -> BulkRun[T]:
        async def work(ref: EnvironmentRef) -> Result[T]:
            return await self._session.call(call, place_of(ref))

        return self._run(work)

    def _run(self, work: Work[Any]) -> BulkRun[Any]:
        return BulkRun(self._refs, work, concurrency=self._concurrency, stop_after_failures=self._stop_after_failures)


def place_of(ref: EnvironmentRef) -> Place:
    """Where the calls to an environment go."""
    return Place(environment_id=ref.id, project_id=ref.project_id)
