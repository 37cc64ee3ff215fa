"""What the type checkers see of the public names. Checked by them, never run."""

from typing import assert_type

from aioposthog_env import (
    ActivityEntry,
    AsyncEnvironments,
    BulkReport,
    Environment,
    EnvironmentSummary,
    IngestionRestriction,
    Secret,
    SessionCookie,
    TeamSettings,
    UnsetType,
    log_in,
)
from aioposthog_env.access import AccessReport


async def single(environments: AsyncEnvironments) -> None:
    """One call."""
    environment = await environments.retrieve(42)
    assert_type(environment, Environment)
    assert_type(environment.settings, TeamSettings)
    assert_type(environment.settings.anonymize_ips, bool | UnsetType)
    assert_type(environment.secret_api_token, Secret | None | UnsetType)
    assert_type(await environments.update(environment, TeamSettings(anonymize_ips=True)), Environment)
    assert_type(await environments.create(TeamSettings(name="x")), Environment)
    assert_type(await environments.event_ingestion_restrictions(42), list[IngestionRestriction])
    assert_type(await environments.is_generating_demo_data(42), bool)
    assert_type(await environments.check_access(needs={"project:write"}, of=[42]), AccessReport)
    async for summary in environments.list(search="prod"):
        assert_type(summary, EnvironmentSummary)
    async for entry in environments.activity(42):
        assert_type(entry, ActivityEntry)
    assert_type(await log_in("us", "a@example.com", "password"), SessionCookie)


async def bulk(environments: AsyncEnvironments) -> None:
    """Many calls."""
    report = await environments.each([1, environments.list]).retrieve()  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert_type(report, BulkReport[Environment])
    async with environments.each(environments.list()).is_generating_demo_data() as outcomes:
        async for outcome in outcomes:
            assert_type(outcome.value, bool | None)
