"""What the type checkers see of the public names. Checked by them, never run."""

from typing import assert_type

from aioposthog_env import (
    ActivityEntry,
    AsyncEnvironments,
    BulkReport,
    Environment,
    EnvironmentPlan,
    EnvironmentSummary,
    FieldChange,
    IngestionRestriction,
    Journal,
    Plan,
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


async def safety(environments: AsyncEnvironments) -> None:
    """Plan, apply, undo, rotate, wait."""
    plan = await environments.plan({1: TeamSettings(timezone="UTC")})
    assert_type(plan, Plan)
    assert_type(plan.environments, tuple[EnvironmentPlan, ...])
    assert_type(plan.environments[0].changes, tuple[FieldChange, ...])
    assert_type(await environments.apply(plan, journal="run.db", canary=1), BulkReport[Environment])
    assert_type(await environments.undo(Journal("run.db")), BulkReport[Environment])
    each = environments.each([1], journal="run.db", run="rotation", adopt=True)
    assert_type(await each.rotate_secret_token(sink=lambda one: one.id, verify=True), BulkReport[Environment])
    assert_type(await each.delete_secret_token_backup(min_age=60), BulkReport[Environment])
    assert_type(await environments.update(1, TeamSettings(), expected=TeamSettings()), Environment)
    await environments.wait_until_deleted(1, deadline=60)
    await environments.wait_until_demo_data_ready(1)


async def bulk(environments: AsyncEnvironments) -> None:
    """Many calls."""
    report = await environments.each([1, environments.list]).retrieve()  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert_type(report, BulkReport[Environment])
    async with environments.each(environments.list()).is_generating_demo_data() as outcomes:
        async for outcome in outcomes:
            assert_type(outcome.value, bool | None)
